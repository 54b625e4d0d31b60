"""The method of a bundle in eager PyTorch, on the same batches, with the same random choices as the driver's."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toolchain.evaluation.contestants.outcome import Outcome
from toolchain.reference.controller import surgeon_ratios
from toolchain.reference.objective import Feeds
from toolchain.verification.case import Case
from toolchain.verification.twin import make_twin


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
        self._case, self._told = case, told
        self._rate = case.manifest.method.learning_rate if told.learning_rate is None else told.learning_rate
        self._random = np.random.default_rng(told.seed)
        self._twin = make_twin(case, torch.float32, self._random)
        self._grad_rms: Tensor | None = None

    def adapt(self, images: np.ndarray) -> Outcome:
        """images: float32 [N, 3, H, W], preprocessed."""
        batch = torch.from_numpy(images)
        feeds = self._twin.prepare(batch)
        result = self._twin.learn(batch, self._ratios(batch, feeds), self._rate, feeds)
        if result.learns:
            self._grad_rms = result.grad_rms
        return Outcome(result.logits.argmax(1).numpy())

    def _ratios(self, images: Tensor, feeds: Feeds) -> Tensor:
        """Prune ratios [L]."""
        method, layers = self._case.method, self._case.manifest.layers
        if self._told.prune_ratio == "auto" and method.controller == "surgeon":
            elements = torch.tensor([layer.elements_per_sample for layer in layers])
            return surgeon_ratios(self._gradients(images, feeds), elements).float()
        own = method.prune_ratio if method.controller == "static" else 0.0
        return torch.full((len(layers),), own if self._told.prune_ratio == "auto" else float(self._told.prune_ratio))

    def _gradients(self, images: Tensor, feeds: Feeds) -> Tensor:
        """Their root mean squares [L], of a probe or of the step before."""
        probe = self._case.method.probe
        if self._told.importance != "probe" and self._grad_rms is not None:
            return self._grad_rms
        chosen = torch.from_numpy(self._random.permutation(len(images))[: probe.samples])
        fed = {role: tensor[chosen] for role, tensor in feeds.items()}
        ratios = torch.full((len(self._case.manifest.layers),), probe.prune_ratio)
        assert self._twin.probe is not None
        return self._twin.probe(images[chosen], ratios, fed).grad_rms
