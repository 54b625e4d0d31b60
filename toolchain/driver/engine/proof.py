"""Does an engine compute what the inference graph says, and do all of its weights follow a refit?"""

from typing import Dict, Mapping, Optional, Protocol, Sequence

import numpy as np

from toolchain.driver.inference import InferenceModel, Tensors
from toolchain.errors import EngineError

LIMITS = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference of a logit from onnxruntime's, relative to the largest logit, by the engine's precision."""

SAMPLES = 2


class Refittable(Protocol):
    def predict(self, images: np.ndarray) -> np.ndarray: ...

    def refit(self, weights: Tensors, constants: Tensors) -> None: ...


def prove(
    engines: Sequence[Refittable], model: InferenceModel, weights: Tensors, precision: str, threads: Optional[int]
) -> None:
    """Refits each engine twice and compares its logits with onnxruntime's. Raises EngineError if they differ.

    First with weights that are all far from those it was built with, so that one which did not follow shows; then with
    those asked for, which the engine has afterwards.
    """
    images = probe_images(model)
    constants, limit = model.constants(), LIMITS[precision]
    for given in (disturbed(weights), weights):
        expected = model.session(given, threads).run(model.facts.input, images, model.facts.output)
        for engine in engines:
            engine.refit(given, constants)
            measured = distance(engine.predict(images), expected)
            if not measured <= limit:
                raise EngineError(f"after a refit the engine's logits differ by {measured:.2g} (limit {limit:.2g})")


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest expected magnitude."""
    difference = np.abs(found.astype(np.float64) - expected).max(initial=0.0)
    return float(difference / max(np.abs(expected).max(initial=0.0), np.finfo(np.float32).tiny))


def probe_images(model: InferenceModel) -> np.ndarray:
    """Seeded images float32 [n, C, H, W], as many as the engine takes, at most SAMPLES."""
    shape = (min(SAMPLES, model.max_batch), *model.sample_shape)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def disturbed(weights: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Every tensor clearly changed, and none so that activations run away: factors alternate, biases move as well."""
    return {name: _changed(array, 1.2 if index % 2 else 0.8) for index, (name, array) in enumerate(weights.items())}


def _changed(array: np.ndarray, factor: float) -> np.ndarray:
    moved = 0.5 * float(np.sqrt(np.mean(np.square(array)))) or 0.01
    return np.ascontiguousarray(array * factor + (moved if array.ndim < 2 else 0.0), np.float32)
