"""How a layer's gradient is formed from a pruned activation, for every kind of layer.

A layer is a product with its weight (a convolution, a matrix product, a scaling by γ) and, for normalisation, a
standardisation before it. The gradient of the product's input needs no activation and stays exact; the gradient of the
weight and the gradient through the standardisation use what was kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from toolchain.reference.batch_moments import biased_moments

Keep = Callable[[Tensor], Tensor]
"""An activation to a constant of the same shape: what the backward pass will see of it."""


def with_gradient_of(value: Tensor, source: Tensor) -> Tensor:
    """`value` with the gradient of `source`, same shape, added to its own: the second summand is 0.

    A product W·x whose weight gradient comes from the kept part ẋ of x is `with_gradient_of(W.detach()·x, W·ẋ)`.
    (SURGEON, section 3.2: ΔW = ẋᵀ·g, Δx = g·Wᵀ.)
    """
    return value + (source - source.detach())


class SourcePart(NamedTuple):
    """mean, variance: of the source, which broadcast to an activation. share: of the statistics, 0 to 1."""

    mean: Tensor
    variance: Tensor
    share: float


class Standardise(Function):
    """x̂ = (x − μ) / σ over `axes`, with μ, σ of `x` itself, any shape; and x̂ as the backward pass sees it.

    `keep` prunes the centred activation c = x − μ; μ and 1 / σ stay exact, so an element that was dropped means x̂ = 0.
    Backward: grad_x = (g − mean(g) − x̂ · mean(g · x̂)) / σ, the exact gradient with the pruned x̂ in it.
    (Ioffe and Szegedy 2015, "Batch Normalization", section 3; Ba et al. 2016, "Layer Normalization", section 3.)

    With a part of the source, the mean is d less and σ another, and of both b = 1 − share follows x:
    grad_x = (g − b · mean(g) − b · c / σ · mean(g · x̂)) / σ. (Schneider et al. 2020, equation 3.)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, axes: Sequence[int], epsilon: float, keep: Keep, source: SourcePart | None
    ) -> tuple[Tensor, Tensor]:
        mean, variance = biased_moments(x, axes)
        centred, gap, ctx.part = x - mean, torch.zeros_like(mean), 1.0
        if source is not None:
            ctx.part = 1 - source.share
            gap = source.share * (mean - source.mean)
            variance = source.share * source.variance + ctx.part * variance
        inverse_deviation = (variance + epsilon).rsqrt()
        kept = keep(centred)
        ctx.axes = tuple(axes)
        ctx.save_for_backward(kept, gap, inverse_deviation)
        seen = (kept + gap) * inverse_deviation
        ctx.mark_non_differentiable(seen)
        return (centred + gap) * inverse_deviation, seen

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (kept, gap, inverse_deviation), g = ctx.saved_tensors, gradients[0]
        along = (g * (kept + gap) * inverse_deviation).mean(ctx.axes, keepdim=True)
        mean = g.mean(ctx.axes, keepdim=True)
        through = ctx.part * (mean + kept * inverse_deviation * along)
        return (g - through) * inverse_deviation, None, None, None, None


def standardise(
    x: Tensor, axes: Sequence[int], epsilon: float, keep: Keep, source: SourcePart | None = None
) -> tuple[Tensor, Tensor]:
    """`Standardise`: x̂ exact, and x̂ from what `keep` leaves of x − μ; both of the shape of `x`."""
    exact, kept = Standardise.apply(x, axes, epsilon, keep, source)
    return exact, kept


def standardise_by(mean: Tensor, variance: Tensor, x: Tensor, epsilon: float, keep: Keep) -> tuple[Tensor, Tensor]:
    """As `standardise` with constants that broadcast to `x`, which leaves the gradient of `x` exact."""
    centred = x - mean
    inverse_deviation = (variance + epsilon).rsqrt()
    return centred * inverse_deviation, keep(centred) * inverse_deviation


def scale(exact: Tensor, kept: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """γ · x̂ + β, where grad_γ = Σ g · x̂ is formed from the `kept` x̂. γ and β broadcast to x̂."""
    if weight is None:
        return exact
    scaled = with_gradient_of(exact * weight.detach(), kept * weight)
    return scaled if bias is None else scaled + bias
