"""The method of a bundle in eager PyTorch, on the same batches, with the same random choices as the driver's."""

from collections.abc import Callable

import numpy as np
import torch

from toolchain.evaluation.contestants.outcome import Outcome
from toolchain.reference.step import StepResult
from toolchain.reference.surgeon import SurgeonReference
from toolchain.verification.case import Case

Adapt = Callable[[np.ndarray], StepResult]


class EagerTwin:
    """From the shipped weights of the bundle."""

    def __init__(self, case: Case, prune_ratio: str, importance: str, learning_rate: float | None, seed: int) -> None:
        """prune_ratio: "auto" or a number, as the driver takes it; so are the others."""
        self._adapt = _adapting(case, prune_ratio, importance, learning_rate, seed)

    def adapt(self, images: np.ndarray) -> Outcome:
        """images: float32 [N, 3, H, W], preprocessed."""
        return Outcome(self._adapt(images).logits.argmax(1).numpy())


def _adapting(case: Case, prune_ratio: str, importance: str, learning_rate: float | None, seed: int) -> Adapt:
    step, method = case.eager(torch.float32, learning_rate), case.method
    if prune_ratio == "auto" and method.controller == "surgeon":
        elements = torch.tensor([layer.elements_per_sample for layer in case.manifest.layers])
        random, samples = np.random.default_rng(seed), method.probe.samples
        surgeon = SurgeonReference(step, elements, method.probe, "probe" if importance == "probe" else "previous")

        def probe_and_adapt(images: np.ndarray) -> StepResult:
            chosen = torch.from_numpy(random.permutation(len(images))[:samples])
            return surgeon.adapt(torch.from_numpy(images), chosen)

        return probe_and_adapt
    own = method.prune_ratio if method.controller == "static" else 0.0
    ratios = [own if prune_ratio == "auto" else float(prune_ratio)] * len(case.manifest.layers)
    return lambda images: step.run(torch.from_numpy(images), ratios)
