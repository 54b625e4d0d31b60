"""`infer`: predict with the adapted weights folded into the inference graph, or with those it was shipped with."""

import time
from pathlib import Path
from typing import Any, List, Mapping, Optional

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.images import ImageSource, batches, open_images
from toolchain.driver.onnx_file import replace_initializers
from toolchain.driver.output import emit, progress, warn
from toolchain.driver.refit import fold, read_recipe
from toolchain.driver.session_onnxruntime import InferSession
from toolchain.driver.state import SavedState, open_state
from toolchain.driver.step import shipped_tensors
from toolchain.errors import BundleError


def run(path: Path, options: Any) -> int:
    """Print the predictions of all images."""
    bundle = Bundle(path)
    images = open_images(options.images, bundle.manifest.model)
    saved = _load_state(bundle, options.state)
    session = open_session(bundle, saved.tensors if saved else None, options.threads)
    started = time.perf_counter()
    labels = _predict(bundle, session, images, options.batch or bundle.manifest.batch)
    result = {
        "predictions": labels,
        "images": len(labels),
        "adapted_steps": saved.step if saved else 0,
        "seconds": time.perf_counter() - started,
    }
    emit(result, "\n".join(map(str, labels)), options.json)
    return 0


def open_session(bundle: Bundle, adapted: Optional[Mapping[str, np.ndarray]], threads: Optional[int]) -> InferSession:
    """The inference graph with adapted tensors (by input name of the step) folded in; None: as shipped."""
    file = bundle.file(bundle.manifest.infer.file)
    model = file.read_bytes()
    if adapted is not None:
        model = replace_initializers(model, _folded(bundle, adapted))
    return InferSession(model, file, threads)


def _folded(bundle: Bundle, adapted: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    if bundle.manifest.infer.recipe is None:
        raise BundleError("manifest.json has no infer.recipe to fold adapted weights with: build the bundle again")
    recipe = read_recipe(bundle.file(bundle.manifest.infer.recipe))
    return fold(recipe, {**shipped_tensors(bundle), **adapted})


def _load_state(bundle: Bundle, chosen: Optional[Path]) -> Optional[SavedState]:
    saved = open_state(bundle, chosen).load()
    if saved is None and chosen is not None:
        warn(f"{chosen} holds no adapted state of this bundle: predicting with the shipped parameters")
    return saved


def _predict(bundle: Bundle, session: InferSession, images: ImageSource, size: int) -> List[int]:
    facts, labels = bundle.manifest.infer, []
    for batch in batches(images, size):
        logits = session.run(facts.input, batch, facts.output)
        labels += [int(label) for label in logits.argmax(axis=1)]
        progress(f"image {len(labels)} of {len(images)}")
    progress("")
    return labels
