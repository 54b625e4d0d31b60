"""Where a model's layers meet the pruning: the functions that its modules call are replaced while it runs.

A layer is known by the weight that it is called with, so a module needs no twin, and a subclass that pads its input
first, or an attention that keeps its weights as bare parameters, needs no exception.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from toolchain.errors import ModelError
from toolchain.reference.attention import self_attention
from toolchain.reference.batch_moments import BatchMoments
from toolchain.reference.gradients import SourcePart, scale, standardise, standardise_by, with_gradient_of
from toolchain.reference.pruning import as_half, keep_largest, kept_count

REPLACED = {
    functional.conv2d: "conv2d",
    functional.linear: "linear",
    functional.batch_norm: "batch_norm",
    functional.layer_norm: "layer_norm",
    functional.multi_head_attention_forward: "attention",
}
"""Functions, and what PrunedForward has in place of them: by name, as bound methods would tie it to itself, and what it
has seen would lie about, in between the activations of later batches, until the garbage collector comes."""


class Layer(NamedTuple):
    """A place whose saved activation is pruned: the input of what multiplies by `weight`.

    kind: "conv", "linear", "batchnorm" or "layernorm".
    """

    name: str
    kind: str
    weight_name: str
    weight: nn.Parameter

    @property
    def key(self) -> tuple[str, int]:
        return self.kind, id(self.weight)


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """[C] so that it broadcasts to `x`, [N, C, ...]."""
    return parameter.view(-1, *[1] * (x.ndim - 2))


@dataclass(frozen=True)
class Mixing:
    """source: by the identity of a BatchNorm's running mean, mean and variance [C], which count as `samples` images."""

    source: Mapping[int, tuple[Tensor, Tensor]]
    samples: int

    @staticmethod
    def of(model: nn.Module, samples: int) -> "Mixing | None":
        """With what the running statistics of `model` are now; None for no samples."""
        if not samples:
            return None
        found = {}
        for norm in model.modules():
            if (
                isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
                and norm.running_mean is not None
                and norm.running_var is not None
            ):
                found[id(norm.running_mean)] = norm.running_mean.clone(), norm.running_var.clone()
        return Mixing(found, samples)

    def part(self, x: Tensor, running_mean: Tensor) -> SourcePart:
        """For an activation [N, C, ...]."""
        mean, variance = (value.view(1, -1, *[1] * (x.ndim - 2)) for value in self.source[id(running_mean)])
        return SourcePart(mean, variance, self.samples / (self.samples + len(x)))


class PrunedForward(TorchFunctionMode):
    """While it is active, a forward pass saves the input of `layers[i]` pruned at `ratios[i]`; values stay exact.

    statistics: what every BatchNorm normalises with, "batch" or "running". Afterwards `moments` holds what each
    BatchNorm with batch statistics saw, in the order of execution. half: whether what is saved is rounded to half
    precision. mixing: of batch statistics with the source's.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        ratios: Sequence[float],
        statistics: str,
        half: bool = False,
        mixing: Mixing | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.statistics, self.half, self.mixing = layers, statistics, half, mixing
        self.ratios = dict(zip((layer.key for layer in layers), ratios, strict=True))
        self.kept: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self.moments: list[BatchMoments] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replaced = getattr(self, REPLACED[function]) if function in REPLACED else function
        return replaced(*args, **(kwargs or {}))

    def prunes(self, kind: str, weight: Any) -> bool:
        return (kind, id(weight)) in self.ratios

    def keep(self, kind: str, weight: Tensor | None, x: Tensor) -> Tensor:
        """What the layer with this weight saves of `x`: its largest elements, or all where the layer is not pruned."""
        if not self.prunes(kind, weight):
            return x.detach()
        count = kept_count(x.numel(), self.ratios[kind, id(weight)])
        self.kept[kind, id(weight)].append(count)
        kept = keep_largest(x.detach(), count)
        return as_half(kept) if self.half else kept

    def kept_elements(self) -> list[int]:
        """How many elements each layer kept, in the order of `layers`; ModelError if one did not run just once."""
        for layer in self.layers:
            if (runs := len(self.kept[layer.key])) != 1:
                raise ModelError(f"layer {layer.name!r} ran {runs} times as {layer.kind}, not once: do not prune it")
        return [self.kept[layer.key][0] for layer in self.layers]

    def follow(self, momentum: float) -> None:
        """The running statistics follow what the pass saw."""
        for moments in self.moments:
            moments.follow(momentum)

    def conv2d(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *options: Any, **more: Any) -> Tensor:
        """torch.nn.functional.conv2d, [N, C, H, W] to [N, K, H', W']; grad_x and grad_bias exact."""
        if not self.prunes("conv", weight):
            return functional.conv2d(x, weight, bias, *options, **more)
        value = functional.conv2d(x, weight.detach(), bias, *options, **more)
        return with_gradient_of(value, functional.conv2d(self.keep("conv", weight, x), weight, None, *options, **more))

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """torch.nn.functional.linear, [..., C] to [..., K]; grad_x and grad_bias exact."""
        if not self.prunes("linear", weight):
            return functional.linear(x, weight, bias)
        value = functional.linear(x, weight.detach(), bias)
        return with_gradient_of(value, functional.linear(self.keep("linear", weight, x), weight))

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """torch.nn.functional.batch_norm of [N, C, ...], except that `statistics` decides in place of `training`."""
        keep = partial(self.keep, "batchnorm", weight)
        if self.statistics == "running" and running_mean is not None and running_var is not None:
            standardised = standardise_by(per_channel(running_mean, x), per_channel(running_var, x), x, eps, keep)
        else:
            mixed = self.mixing.part(x, running_mean) if self.mixing is not None and running_mean is not None else None
            standardised = standardise(x, [0, *range(2, x.ndim)], eps, keep, mixed)
            self.observe(x, running_mean, running_var)
        return scale(*standardised, *(p if p is None else per_channel(p, x) for p in (weight, bias)))

    def observe(self, x: Tensor, running_mean: Tensor | None, running_variance: Tensor | None) -> None:
        if running_mean is not None and running_variance is not None:
            self.moments.append(BatchMoments.of(x, running_mean, running_variance))

    def layer_norm(
        self,
        x: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """torch.nn.functional.layer_norm: x̂ over the last `len(normalized_shape)` axes."""
        keep = partial(self.keep, "layernorm", weight)
        return scale(*standardise(x, range(-len(normalized_shape), 0), eps, keep), weight, bias)

    def attention(self, *arguments: Any, **options: Any) -> Any:
        """torch.nn.functional.multi_head_attention_forward, whose projections are layers of kind "linear"."""
        if not any(self.prunes("linear", argument) for argument in arguments):
            return functional.multi_head_attention_forward(*arguments, **options)
        return self_attention(self.linear, *arguments, **options)
