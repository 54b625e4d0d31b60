"""`infer`: predict with the adapted weights folded into the inference graph, or with those it was shipped with."""

import time
from pathlib import Path
from typing import Any, List, Optional

from toolchain.driver.bundle import Bundle
from toolchain.driver.images import ImageSource, batches, open_images
from toolchain.driver.inference import InferenceModel, Tensors
from toolchain.driver.output import emit, progress, warn
from toolchain.driver.predictor import Predictor, choice_from, open_predictor
from toolchain.driver.session_onnxruntime import InferSession
from toolchain.driver.state import SavedState, open_state


def run(path: Path, options: Any) -> int:
    """Print the predictions of all images."""
    bundle = Bundle(path)
    images = open_images(options.images, bundle.manifest.model)
    saved = _load_state(bundle, options.state)
    predictor = open_predictor(InferenceModel(bundle), saved.tensors if saved else None, choice_from(options, bundle))
    started = time.perf_counter()
    labels = _predict(predictor, images, options.batch or bundle.manifest.batch)
    result = {
        "predictions": labels,
        "images": len(labels),
        "engine": predictor.engine,
        "adapted_steps": saved.step if saved else 0,
        "seconds": time.perf_counter() - started,
    }
    emit(result, "\n".join(map(str, labels)), options.json)
    return 0


def open_session(bundle: Bundle, adapted: Optional[Tensors], threads: Optional[int]) -> InferSession:
    """The inference graph with adapted tensors (by input name of the step) folded in; None: as shipped."""
    model = InferenceModel(bundle)
    return model.session(None if adapted is None else model.weights(adapted), threads)


def _load_state(bundle: Bundle, chosen: Optional[Path]) -> Optional[SavedState]:
    saved = open_state(bundle, chosen).load()
    if saved is None and chosen is not None:
        warn(f"{chosen} holds no adapted state of this bundle: predicting with the shipped parameters")
    return saved


def _predict(predictor: Predictor, images: ImageSource, size: int) -> List[int]:
    labels: List[int] = []
    for batch in batches(images, size):
        labels += [int(label) for label in predictor.predict(batch).argmax(axis=1)]
        progress(f"image {len(labels)} of {len(images)}")
    progress("")
    return labels
