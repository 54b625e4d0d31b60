"""Consistency: an image and an augmentation of it are to be told alike, with gradients through both.

Ma et al., CVPR 2025, "SURGEON: Memory-Adaptive Fully Test-Time Adaptation via Dynamic Activation Sparsity",
section 3.4.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolchain.methods.declaration import TwoViews
from toolchain.reference.interception import PrunedForward
from toolchain.reference.objective import Objective, Outcome
from toolchain.reference.step import EagerStep, StepResult


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """H(p, q) = −Σ p log q, the mean over the batch, with p and q the softmax of logits [N, C]."""
    return -(logits.softmax(1) * other.log_softmax(1)).sum(1).mean()


class TwoViewsReference:
    """objective: of the images themselves, without the consistency. augment: images to another view of them."""

    def __init__(
        self, step: EagerStep, numbers: TwoViews, objective: Objective, augment: Callable[[Tensor], Tensor]
    ) -> None:
        self.step, self._numbers, self._objective, self._augment = step, numbers, objective, augment

    def adapt(self, images: Tensor, ratios: Tensor | Sequence[float], learning_rate: float | None = None) -> StepResult:
        """One batch [N, 3, H, W]; the prediction is the `logits` of the result."""
        result, forward = self.differentiate(images, ratios)
        self.step.update(result.grads, learning_rate)
        self.step.follow(forward)
        return result

    def differentiate(self, images: Tensor, ratios: Tensor | Sequence[float]) -> tuple[StepResult, PrunedForward]:
        """The whole loss and its gradients, and what the pass over the images saw."""
        other, _ = self.step.forward(self._augment(images), ratios)
        logits, forward = self.step.forward(images, ratios)
        mask = torch.ones(len(images), dtype=images.dtype)
        weight = self._numbers.consistency * logits.shape[1]
        own = self._objective(logits, {"sample_mask": mask})
        outcome = Outcome(own.loss + weight * consistency(logits, other), own.weights)
        return self.step.describe(logits, outcome, self.step.gradients_of(outcome.loss), forward), forward
