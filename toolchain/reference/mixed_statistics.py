"""BatchNorm on a mixture of the batch's statistics and the source's, and nothing that trains.

Schneider et al., NeurIPS 2020, "Improving Robustness Against Common Corruptions by Covariate Shift Adaptation".
"""

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from toolchain.reference.batch_moments import BatchMoments, biased_moments
from toolchain.reference.objective import entropy
from toolchain.reference.step import StepResult


class MixedForward(TorchFunctionMode):
    """While it is active, BatchNorm takes N / (N + n) parts of `source`'s statistics, N = samples, n the batch's size.

    source: by the identity of a BatchNorm's running mean, mean and variance [C]. Running statistics follow the batch's
    alone, with `momentum`.
    """

    def __init__(self, source: dict[int, tuple[Tensor, Tensor]], samples: float, momentum: float) -> None:
        super().__init__()
        self.source, self.samples, self.momentum = source, samples, momentum

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is functional.batch_norm:
            return self.batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        share = self.samples / (self.samples + len(x))
        seen = (moment.flatten() for moment in biased_moments(x, [0, *range(2, x.ndim)]))
        mean, variance = (
            share * old + (1 - share) * new for old, new in zip(self.source[id(running_mean)], seen, strict=True)
        )
        BatchMoments.of(x, running_mean, running_var).follow(self.momentum)
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)


class ForwardReference:
    """Predicts with its own copy of a model. statistics: what BatchNorm normalises with, "running" or "batch"."""

    def __init__(self, model: nn.Module, statistics: str, samples: float = 0, momentum: float = 0.1) -> None:
        self.model = copy.deepcopy(model).eval()
        norms = [norm for norm in self.model.modules() if isinstance(norm, nn.BatchNorm2d)]
        source = {id(norm.running_mean): _statistics(norm) for norm in norms}
        self._mode = MixedForward(source, samples, momentum) if statistics == "batch" else None

    def adapt(self, images: Tensor) -> StepResult:
        """The `logits` of one batch [N, 3, H, W], whose statistics the running ones follow, and their entropy."""
        with torch.no_grad(), self._mode or nullcontext():
            logits: Tensor = self.model(images)
        nothing = torch.zeros(0)
        return StepResult(logits, entropy(logits), {}, nothing, nothing.long())


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean.clone(), norm.running_var.clone()
