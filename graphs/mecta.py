"""MECTA's normalisation in operators: what it measures of a batch, and its gradient from the channels that it kept.

Hong et al., ICLR 2023, "MECTA: Memory-Economic Continual Test-Time Model Adaptation", and its authors' code.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder

PLANES = np.array([0, 2, 3])
COLUMN = np.array([1, -1, 1, 1])

SMOOTHING = 1e-3
"""Added to variances where two distributions are compared."""

TINY = 1e-3
"""By so much a product with a share may fall short of a whole number: the code computes it in float64."""


@dataclass(frozen=True)
class Moments:
    """The mean and the population variance [C] of each channel."""

    mean: ir.Value
    variance: ir.Value

    def inverse(self, build: Builder, epsilon: float) -> ir.Value:
        return build.op("Reciprocal", build.op("Sqrt", build.op("Add", self.variance, epsilon)))


def measure(build: Builder, activation: ir.Value, native: bool) -> Moments:
    """Of a batch [N, C, H, W]. native: with the kernel that reads it once."""
    if native:
        return Moments(*build.own("ChannelMoments", 2, activation))
    mean = build.op("ReduceMean", activation, PLANES, keepdims=0)
    centered = build.op("Sub", activation, build.op("Reshape", mean, COLUMN))
    squares = build.op("ReduceSumSquare", centered, PLANES, keepdims=0)
    return Moments(mean, build.op("Div", squares, per_channel(build, activation, mean)))


def per_channel(build: Builder, activation: ir.Value, channels: ir.Value) -> ir.Value:
    """How many elements a channel has, float32 []."""
    sizes = [build.op("Cast", build.op("Size", value), to=int(ir.DataType.FLOAT)) for value in (activation, channels)]
    return build.op("Div", *sizes)


def forgetting(build: Builder, batch: Moments, running: Moments) -> ir.Value:
    """β [1]: 1 − exp(−D), where D is the symmetric divergence of two normal distributions, averaged over channels.

    D = ½ ((σ_b² + Δ²) / σ_r² + (σ_r² + Δ²) / σ_b²) − 1 with Δ = μ_b − μ_r.
    """
    gap = build.op("Sub", batch.mean, running.mean)
    square = build.op("Mul", gap, gap)
    first, second = (build.op("Add", moments.variance, SMOOTHING) for moments in (batch, running))
    ratios = [build.op("Div", build.op("Add", a, square), b) for a, b in ((first, second), (second, first))]
    divergence = build.op("Sub", build.op("Mul", build.op("Add", *ratios), 0.5), 1.0)
    average = build.op("ReduceMean", divergence, keepdims=1)
    return build.op("Sub", 1.0, build.op("Exp", build.op("Neg", average)))


def moved(build: Builder, running: Moments, batch: Moments, weight: ir.Value) -> Moments:
    """(1 − β) running + β batch, of both moments."""
    rest = build.op("Sub", 1.0, weight)
    pairs = ((running.mean, batch.mean), (running.variance, batch.variance))
    sums = [build.op("Add", build.op("Mul", old, rest), build.op("Mul", new, weight)) for old, new in pairs]
    return Moments(*sums)


def kept_channels(channels: int, drop: float) -> int:
    """How many of them are kept where the share `drop` is dropped, rounded down."""
    return channels - int(channels * drop + TINY)


@dataclass(frozen=True)
class Cache:
    """What a layer keeps of its input x. values: x − μ_b [N, K, H, W] of the channels `places` int64 [K].

    gate: bool [1], whether the layer is on; where it is off, K is 0.
    """

    values: ir.Value
    places: ir.Value
    gate: ir.Value


def keep(build: Builder, activation: ir.Value, mean: ir.Value, keys: ir.Value, count: int, gate: ir.Value) -> Cache:
    """The channels with the `count` largest of the random `keys` [C]."""
    kept = build.op("Mul", build.op("Cast", gate, to=int(ir.DataType.INT64)), np.array([count]))
    _, places = build.ops("TopK", 2, keys, kept)
    column = build.op("Reshape", build.op("Gather", mean, places), COLUMN)
    early = build.marked(EARLY)
    return Cache(early.op("Sub", early.op("Gather", activation, places, axis=1), column), places, gate)


@dataclass(frozen=True)
class Gradient:
    """Of a layer's input [N, C, H, W], weight and bias [C]."""

    activation: ir.Value
    weight: ir.Value
    bias: ir.Value


def differentiate(
    build: Builder, gradient: ir.Value, cache: Cache, scale: ir.Value, batch: Moments, running: Moments, epsilon: float
) -> Gradient:
    """From the gradient g of y = scale (x − μ_r) / σ_r + bias, seen as BatchNorm on the batch's own statistics.

    Kept channels: scale/σ_r (g − mean g − x̂ mean(g x̂)) with x̂ = (x − μ_b) / σ_b, and for the weight
    Σ g (x − μ_r) / σ_r. Dropped ones: scale/σ_r (g − mean g), and nothing for the weight. A layer that is off passes g
    on as it is; the gradients of its weight and bias are not used.
    """
    late = build.marked(LATE)
    inner, outer = (moments.inverse(late, epsilon) for moments in (batch, running))
    slope = build.op("Mul", scale, outer)
    total = build.op("ReduceSum", gradient, PLANES, keepdims=0)
    count = per_channel(build, gradient, total)
    shift = build.op("Neg", build.op("Div", build.op("Mul", slope, total), count))
    slope_if_on, shift_if_on = (build.op("Where", cache.gate, *pair) for pair in ((slope, 1.0), (shift, 0.0)))
    shifted = _affine(build, gradient, slope_if_on, shift_if_on, _length(scale))

    def chosen(value: ir.Value) -> ir.Value:
        return build.op("Gather", value, cache.places)

    along = build.op("Mul", build.op("Gather", gradient, cache.places, axis=1), cache.values)
    product = build.op("ReduceSum", along, PLANES, keepdims=0)
    offset = build.op("Mul", build.op("Sub", batch.mean, running.mean), total)
    of_weight = build.op("Mul", build.op("Add", product, chosen(offset)), chosen(outer))
    squared = build.op("Mul", inner, inner)
    pull = build.op("Neg", build.op("Div", build.op("Mul", chosen(build.op("Mul", slope, squared)), product), count))
    pulled = build.op("Mul", cache.values, build.op("Reshape", pull, COLUMN))
    corrected = build.op("Add", build.op("Gather", shifted, cache.places, axis=1), pulled)
    weight = build.op("ScatterElements", np.zeros(_length(scale), np.float32), cache.places, of_weight)
    return Gradient(_merged(build, shifted, corrected, cache.places, scale), weight, total)


def _affine(build: Builder, value: ir.Value, slope: ir.Value, shift: ir.Value, channels: int) -> ir.Value:
    """slope · value + shift a channel, in one pass over memory."""
    zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    return build.op("BatchNormalization", value, slope, shift, zeros, ones, epsilon=0.0)


def _merged(build: Builder, dense: ir.Value, some: ir.Value, places: ir.Value, scale: ir.Value) -> ir.Value:
    """`dense` [N, C, H, W] with `some` [N, K, H, W] in the place of the channels `places`."""
    channels = _length(scale)
    count = build.op("Squeeze", build.op("Shape", places))
    behind = build.op("Range", np.array(channels), build.op("Add", count, np.array(channels)), np.array(1))
    order = build.op("ScatterElements", np.arange(channels), places, behind)
    return build.op("Gather", build.op("Concat", dense, some, axis=1), order, axis=1)


def _length(vector: ir.Value) -> int:
    assert vector.shape is not None
    return int(vector.shape.numpy()[0])
