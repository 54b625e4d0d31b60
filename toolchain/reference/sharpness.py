"""SAR: a gradient from where the loss is sharpest nearby, and a fresh start once the loss has collapsed.

Niu et al., ICLR 2023, "Towards Stable Test-Time Adaptation in Dynamic Wild World", section 4.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolchain.methods.declaration import Sharpness
from toolchain.reference.step import EagerStep, StepResult


class SharpnessReference:
    """fresh: makes the step as it is before the first batch."""

    def __init__(self, fresh: Callable[[], EagerStep], numbers: Sharpness) -> None:
        self._fresh, self._numbers = fresh, numbers
        self.step = fresh()
        self._average: float | None = None

    def adapt(self, images: Tensor, ratios: Tensor | Sequence[float], learning_rate: float | None = None) -> StepResult:
        """One batch [N, 3, H, W]; the prediction is the `logits` of the result."""
        first, forward = self.step.differentiate(images, ratios)
        if not first.learns:
            return first
        self.step.follow(forward)
        before = copy.deepcopy(self.step.model.state_dict())
        self._climb(first.grads)
        assert first.weights is not None
        second = self.step.gradients(images, ratios, {"sample_mask": (first.weights > 0).to(images.dtype)})
        self.step.model.load_state_dict(before)
        if second.learns:
            self.step.update(second.grads, learning_rate)
            self._watch(float(second.loss))
        return first

    def _climb(self, gradients: dict[str, Tensor]) -> None:
        """θ + ρ g / ‖g‖."""
        norm = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
        with torch.no_grad():
            for name, parameter in self.step.trained.items():
                parameter.add_(gradients[name] / (norm + 1e-12), alpha=self._numbers.radius)

    def _watch(self, loss: float) -> None:
        decay = self._numbers.decay
        self._average = loss if self._average is None else decay * self._average + (1 - decay) * loss
        if self._average < self._numbers.reset_below:
            self.step, self._average = self._fresh(), None
