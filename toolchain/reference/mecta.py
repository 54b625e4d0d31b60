"""MECTA's step: BatchNorm that forgets by divergence, keeps few channels, and rests where a batch is no news.

Hong et al., ICLR 2023, "MECTA: Memory-Economic Continual Test-Time Model Adaptation", as its authors' code has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from toolchain.methods.declaration import Mecta
from toolchain.reference.batch_moments import biased_moments
from toolchain.reference.interception import per_channel
from toolchain.reference.objective import Feeds
from toolchain.reference.step import EagerStep, StepResult, root_mean_square

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

    def follow(self) -> None:
        """The buffers take their next values, in place."""
        for buffer, value in zip(self.buffers, self.following, strict=True):
            buffer.copy_(value)


class MectaForward(TorchFunctionMode):
    """While it is active, every BatchNorm is MECTA's. keys: random numbers [C] by the identity of its weight."""

    def __init__(self, keys: Mapping[int, Tensor], numbers: Mecta) -> None:
        super().__init__()
        self.keys, self.threshold, self.drop = keys, numbers.threshold, numbers.drop
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
        mean, variance = (moment.flatten() for moment in biased_moments(x.detach(), (0, 2, 3)))
        forget = 1 - (-divergence(mean, variance, running_mean, running_var)).exp()
        following = tuple(
            (1 - forget) * old + forget * new for old, new in ((running_mean, mean), (running_var, variance))
        )
        kept, on = self.choose(self.keys[id(weight)]), bool(forget > self.threshold)
        elements = int(kept.sum()) * (x.numel() // len(mean)) if on else 0
        self.observed[id(weight)] = Observed((running_mean, running_var), (following[0], following[1]), on, elements)
        return normalise(x, weight, bias, (following[0], following[1]), eps, kept if on else None)

    def choose(self, keys: Tensor) -> Tensor:
        """bool [C]: the channels with the largest of the `keys` [C]."""
        count = len(keys) - int(round(len(keys) * self.drop, 3))
        kept = torch.zeros(len(keys), dtype=torch.bool)
        kept[keys.topk(count).indices] = True
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
    mean, variance = biased_moments(x, (0, 2, 3))
    deviation = (variance + epsilon).sqrt()
    rescaled = (x - mean) / deviation * (deviation / deviation_r).detach() + ((mean - mean_r) / deviation_r).detach()
    unscaled = (x - mean) * (gamma / deviation_r).detach()
    dropped = value + (unscaled - unscaled.detach()) + (beta - beta.detach())
    return torch.where(per_channel(kept, x)[None], gamma * rescaled + beta, dropped)


class MectaStep(EagerStep):
    """As EagerStep, with MECTA's BatchNorm, whose layers take no prune ratios.

    Fed is `channel_keys`, random numbers for the channels of all layers, one layer behind the other.
    """

    follows_always = True

    def __init__(self, *arguments: Any, numbers: Mecta, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.numbers = numbers

    def differentiate(  # type: ignore[override]
        self,
        images: Tensor,
        prune_ratios: Tensor | Sequence[float],
        feeds: Feeds | None = None,
        select: bool = True,
    ) -> tuple[StepResult, MectaForward]:
        """The gradients are those of the layers that are on."""
        fed = {"sample_mask": torch.ones(len(images), dtype=images.dtype), **(feeds or {})}
        with MectaForward(self._keys(fed["channel_keys"]), self.numbers) as forward:
            logits = self.model(images)
        outcome = self._objective(logits, fed, select)
        on = {name: parameter for name, parameter in self.trained.items() if forward.observed[self._owner(name)].on}
        grads = dict(zip(on, torch.autograd.grad(outcome.loss, list(on.values())) if on else (), strict=True))
        found = [grads.get(layer.weight_name) for layer in self.layers]
        rms = torch.tensor([0.0 if grad is None else root_mean_square(grad) for grad in found], dtype=torch.float32)
        kept = torch.tensor([forward.observed[id(layer.weight)].kept_elements for layer in self.layers])
        return StepResult(logits.detach(), outcome.loss.detach(), grads, rms, kept, outcome.weights), forward

    def _keys(self, keys: Tensor) -> dict[int, Tensor]:
        """By the identity of the weight."""
        parts = keys.split([len(layer.weight) for layer in self.layers])
        return {id(layer.weight): part for layer, part in zip(self.layers, parts, strict=True)}

    def _owner(self, parameter: str) -> int:
        """The identity of the weight beside `parameter`."""
        return id(self.trained[f"{parameter.rpartition('.')[0]}.weight"])

    def follow(self, forward: MectaForward) -> None:  # type: ignore[override]
        for observed in forward.observed.values():
            observed.follow()
