"""LAW: tensors that matter to the pseudo-labels learn fast, the others slowly.

Park et al., WACV 2024, "Layer-wise Auto-Weighting for Non-Stationary Test-Time Adaptation", section 3.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.methods.declaration import Adam, LayerRates, TwoViews
from toolchain.reference.objective import Objective
from toolchain.reference.step import EagerStep, StepResult
from toolchain.reference.two_views import TwoViewsReference


class LayerRatesReference:
    """augment: images to another view of them. optimizer: made anew for every batch."""

    def __init__(
        self, step: EagerStep, numbers: LayerRates, optimizer: Adam, augment: Callable[[Tensor], Tensor]
    ) -> None:
        views = TwoViews(numbers.consistency)
        self.step, self._numbers, self._optimizer = step, numbers, optimizer
        self._views = TwoViewsReference(step, views, Objective(), augment)
        self._squares = {name: torch.zeros_like(parameter) for name, parameter in step.trained.items()}

    def adapt(self, images: Tensor, ratios: Tensor | Sequence[float], learning_rate: float | None = None) -> StepResult:
        """One batch [N, 3, H, W]; the prediction is the `logits` of the result."""
        self._inform(images, ratios)
        result, forward = self._views.differentiate(images, ratios)
        base = self._optimizer.learning_rate if learning_rate is None else learning_rate
        groups = [
            {"params": [parameter], "lr": base * float(weight)}
            for parameter, weight in zip(self.step.trained.values(), self._weights(), strict=True)
        ]
        optimizer = torch.optim.Adam(groups, betas=(self._optimizer.beta1, self._optimizer.beta2))
        for name, parameter in self.step.trained.items():
            parameter.grad = result.grads[name]
        optimizer.step()
        self.step.follow(forward)
        return result

    def _inform(self, images: Tensor, ratios: Tensor | Sequence[float]) -> None:
        """The diagonal Fisher information of every parameter on the model's own labels, summed over batches."""
        logits, _ = self.step.forward(images, ratios)
        loss = functional.cross_entropy(logits, logits.argmax(1))
        for name, gradient in self.step.gradients_of(loss).items():
            self._squares[name] += gradient.square()

    def _weights(self) -> Tensor:
        roots = torch.stack([square.mean().sqrt() for square in self._squares.values()])
        return ((roots - roots.min()) / (roots.max() - roots.min())) ** self._numbers.temperature
