"""MECTA's step: BatchNorm that forgets by divergence, keeps few channels, and rests where a batch is no news.

Hong et al., ICLR 2023, "MECTA: Memory-Economic Continual Test-Time Model Adaptation", as its authors' code has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from toolchain.methods.declaration import Optimizer
from toolchain.reference.interception import per_channel
from toolchain.reference.step import EagerStep

SMOOTHING = 1e-3


def divergence(mean: Tensor, variance: Tensor, running_mean: Tensor, running_variance: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence of two normal distributions a channel [C], averaged: [].

    Both variances are smoothed, as in the code, which calls it "skl".
    """
    gap = (mean - running_mean).square()
    first, second = variance + SMOOTHING, running_variance + SMOOTHING
    return (((first + gap) / second + (second + gap) / first) / 2 - 1).mean()


@dataclass(frozen=True)
class Observed:
    """What a BatchNorm did: the buffers that follow, what they become, and what was kept. on: whether it learns."""

    buffers: tuple[Tensor, Tensor]
    following: tuple[Tensor, Tensor]
    on: bool
    kept_elements: int


class MectaForward(TorchFunctionMode):
    """While it is active, every BatchNorm is MECTA's. keys: for each one in order of execution random numbers [C]."""

    def __init__(self, keys: Sequence[Tensor], threshold: float, drop: float) -> None:
        super().__init__()
        self.keys, self.threshold, self.drop = keys, threshold, drop
        self.observed: dict[int, Observed] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replaced = self.batch_norm if function is functional.batch_norm else function
        return replaced(*args, **(kwargs or {}))

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """torch.nn.functional.batch_norm of [N, C, H, W] with statistics that have first followed the batch."""
        variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
        forget = 1 - (-divergence(mean, variance, running_mean, running_var)).exp()
        following = tuple(
            (1 - forget) * old + forget * new for old, new in ((running_mean, mean), (running_var, variance))
        )
        kept, on = self.choose(len(self.observed), len(mean)), bool(forget > self.threshold)
        elements = int(kept.sum()) * (x.numel() // len(mean)) if on else 0
        self.observed[id(weight)] = Observed((running_mean, running_var), (following[0], following[1]), on, elements)
        return normalise(x, weight, bias, (following[0], following[1]), eps, kept if on else None)

    def choose(self, layer: int, channels: int) -> Tensor:
        """bool [C]: those with the largest keys."""
        count = channels - int(round(channels * self.drop, 3))
        kept = torch.zeros(channels, dtype=torch.bool)
        kept[self.keys[layer].topk(count).indices] = True
        return kept


def normalise(
    x: Tensor, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], epsilon: float, kept: Tensor | None
) -> Tensor:
    """weight · (x − μ_r) / σ_r + bias, [N, C, H, W], with MECTA's gradient.

    In the channels `kept`, bool [C], the gradient is that of BatchNorm on the batch's own statistics, whose result is
    then scaled to the running ones by constants. In the others the deviation of the batch is a constant too, and the
    weight gets no gradient. Where `kept` is None the gradient passes through unchanged.
    """
    mean_r, deviation_r = (per_channel(value, x) for value in (running[0], (running[1] + epsilon).sqrt()))
    gamma, beta = (per_channel(value, x) for value in (weight, bias))
    value = (gamma * (x - mean_r) / deviation_r + beta).detach()
    if kept is None:
        return value + (x - x.detach())
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    deviation = (variance + epsilon).sqrt()
    rescaled = (x - mean) / deviation * (deviation / deviation_r).detach() + ((mean - mean_r) / deviation_r).detach()
    unscaled = (x - mean) * (gamma / deviation_r).detach()
    dropped = value + (unscaled - unscaled.detach()) + (beta - beta.detach())
    return torch.where(per_channel(kept, x)[None], gamma * rescaled + beta, dropped)


class MectaStep(EagerStep):
    """As EagerStep, with MECTA's BatchNorm, whose layers `run` and `gradients` take with prune ratios that they ignore.

    keys: before each step, random numbers [C] for each BatchNorm in order of execution.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[tuple[str, str]],
        trained: Sequence[str],
        optimizer: Optimizer,
        threshold: float,
        drop: float,
    ) -> None:
        super().__init__(model, layers, trained, optimizer)
        self._threshold, self._drop = threshold, drop
        self.keys: Sequence[Tensor] = ()
