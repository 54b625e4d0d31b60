"""The method of a bundle in eager PyTorch, on the same batches, with the same random choices as the driver's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from toolchain.errors import UsageError
from toolchain.evaluation.contestants.outcome import Outcome
from toolchain.reference.surgeon import SurgeonReference
from toolchain.verification.case import Case
from toolchain.verification.twin import make_twin

Predict = Callable[[np.ndarray], np.ndarray]
"""Predicts a batch [N, 3, H, W] and learns from it: logits [N, C]."""


@dataclass(frozen=True)
class Told:
    """What the driver is told too. prune_ratio: "auto" or a number. learning_rate: None for the method's own."""

    prune_ratio: str
    importance: str
    learning_rate: float | None
    seed: int


class EagerTwin:
    """From the shipped weights of the bundle."""

    def __init__(self, case: Case, told: Told) -> None:
        """Raises UsageError for ratios that the twin cannot follow."""
        self._predict = _probing(case, told) if _follows_gradients(case, told) else _steady(case, told)

    def adapt(self, images: np.ndarray) -> Outcome:
        """images: float32 [N, 3, H, W], preprocessed."""
        return Outcome(self._predict(images).argmax(1))


def _follows_gradients(case: Case, told: Told) -> bool:
    if told.prune_ratio != "auto" or case.method.controller != "surgeon":
        return False
    if case.method.beside is not None:
        raise UsageError(f"--against eager: the twin of {case.method.name} takes a fixed --prune-ratio only")
    return True


def _probing(case: Case, told: Told) -> Predict:
    """SURGEON's ratios, from the same samples as the driver's."""
    step, probe = case.eager(torch.float32, told.learning_rate), case.method.probe
    elements = torch.tensor([layer.elements_per_sample for layer in case.manifest.layers])
    surgeon = SurgeonReference(step, elements, probe, "probe" if told.importance == "probe" else "previous")
    random = np.random.default_rng(told.seed)

    def predict(images: np.ndarray) -> np.ndarray:
        chosen = torch.from_numpy(random.permutation(len(images))[: probe.samples])
        return surgeon.adapt(torch.from_numpy(images), chosen).logits.numpy()

    return predict


def _steady(case: Case, told: Told) -> Predict:
    """The same ratio for every layer."""
    method = case.method
    own = method.prune_ratio if method.controller == "static" else 0.0
    ratio = own if told.prune_ratio == "auto" else float(told.prune_ratio)
    ratios = np.full(len(case.manifest.layers), ratio, np.float32)
    rate = case.manifest.method.learning_rate if told.learning_rate is None else told.learning_rate
    twin = make_twin(case, torch.float32, np.random.default_rng(told.seed))
    return lambda images: twin.run(images, ratios, rate)
