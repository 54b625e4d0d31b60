from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, add_input, add_output, replace
from graphs.passes.lower_batchnorm import bessel, follow
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.schedule import UPDATED

SOURCE = "source"


@dataclass(frozen=True)
class MixStatistics(Rewrite):
    """BatchNorm normalises with N / (N + n) parts of the source's statistics and n / (N + n) of a batch of n images.

    The source counts as N = `samples` images; its statistics are the inputs NAME.source. The running statistics follow
    the batch's alone, with `momentum`. native: with the operators of graphs.kernels.
    Where a gradient follows, it reads the input centred on the batch's mean, see CenterBatchNorm, and passes through
    the batch's part of the statistics.
    Source: Schneider et al. (NeurIPS 2020) equation 3.
    """

    samples: float
    momentum: float
    native: bool

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "BatchNormInternal")
        for node in found:
            self._mix(graph, node)
        return bool(found)

    def _mix(self, graph: ir.Graph, node: ir.Node) -> None:
        activation, scale, bias, *running = node.inputs
        assert activation is not None and scale is not None and scale.shape is not None
        channels = int(scale.shape.numpy()[0])
        epsilon = node.attributes["epsilon"].as_float()
        build = Builder(graph)
        measured = self._moments(build, activation)
        share = self._source_share(build, graph.inputs[0])
        mixed = [
            _blend(build, share, add_input(graph, f"{value.name}.{SOURCE}", ir.DataType.FLOAT, [channels]), moment)
            for value, moment in zip(running, measured, strict=True)
            if value is not None
        ]
        output = self._normalise(build, (activation, scale, bias), mixed, epsilon)
        late = build.marked(EARLY)
        seen = (measured[0], late.op("Mul", measured[1], bessel(late, activation, channels)))
        following = [follow(late, old, new, self.momentum) for old, new in zip(running, seen, strict=True)]
        gap = build.op("Sub", measured[0], mixed[0])
        inverse = build.op("Reciprocal", build.op("Sqrt", build.op("Add", mixed[1], epsilon)))
        batch = _Part(build.op("Sub", 1.0, share), gap)
        build.before(node)
        for gradient in [i for i in node.outputs[4].consumers() if i.op_type == "BatchNormalizationGrad"]:
            _replace_gradient(graph, gradient, batch)
        replace(node, [output, *following, measured[0], inverse])
        for statistic, value in zip(running, following, strict=True):
            assert statistic is not None
            add_output(graph, value, f"{statistic.name}{UPDATED}", ir.DataType.FLOAT, [channels])

    def _source_share(self, build: Builder, images: ir.Value) -> ir.Value:
        """N / (N + n) float32 [1]."""
        batch = build.op("Cast", build.op("Shape", images, start=0, end=1), to=int(ir.DataType.FLOAT))
        return build.op("Div", self.samples, build.op("Add", batch, self.samples))

    def _moments(self, build: Builder, activation: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Mean and population variance of each channel, float32 [C]."""
        if self.native:
            mean, variance = build.own("ChannelMoments", 2, activation)
            return mean, variance
        assert activation.shape is not None
        pixels = np.array([0, *range(2, len(activation.shape))])
        centred = build.op("Sub", activation, build.op("ReduceMean", activation, pixels, keepdims=1))
        variance = build.op("ReduceMean", build.op("Mul", centred, centred), pixels, keepdims=0)
        return build.op("ReduceMean", activation, pixels, keepdims=0), variance

    def _normalise(
        self, build: Builder, layer: tuple[ir.Value | None, ...], mixed: list[ir.Value], epsilon: float
    ) -> ir.Value:
        if not self.native:
            return build.op("BatchNormalization", *layer, *mixed, epsilon=epsilon)
        mean, variance = mixed
        inverse = build.op("Reciprocal", build.op("Sqrt", build.op("Add", variance, epsilon)))
        return build.own("BatchNormalize", 1, *layer, mean, inverse)[0]


def _blend(build: Builder, share: ir.Value, source: ir.Value, batch: ir.Value) -> ir.Value:
    """share * source + (1 - share) * batch."""
    return build.op("Add", build.op("Mul", source, share), build.op("Mul", batch, build.op("Sub", 1.0, share)))


@dataclass(frozen=True)
class _Part:
    """What the batch has in the mixture. share: n / (N + n). gap: its mean minus the mixed one [C]."""

    share: ir.Value
    gap: ir.Value


def _replace_gradient(graph: ir.Graph, node: ir.Node, batch: _Part) -> None:
    """With c = x - mean of the batch, s the inverse deviation, b the batch's share and d the gap, of n elements:

    d_scale = s sum(g (c + d)), d_bias = sum(g) and dx = scale s (g - b sum(g) / n - b c s^2 sum(g (c + d)) / n).
    """
    gradient, centered, scale, zeros, inverse = node.inputs
    assert centered is not None and centered.shape is not None and scale is not None and scale.shape is not None
    planes = range(2, len(centered.shape))
    pixels, column = np.array([0, *planes]), np.array([1, -1, *[1 for _ in planes]])
    build = Builder(graph)
    total = build.op("ReduceSum", gradient, pixels, keepdims=0)
    along = build.op("ReduceSum", build.op("Mul", gradient, centered), pixels, keepdims=0)
    product = build.op("Add", along, build.op("Mul", batch.gap, total))
    size = build.op("Cast", build.op("Size", gradient), to=int(ir.DataType.FLOAT))
    part = build.op("Div", batch.share, build.op("Div", size, float(scale.shape.numpy()[0])))
    slope = build.op("Mul", scale, inverse)
    shift = build.op("Neg", build.op("Mul", build.op("Mul", slope, total), part))
    pull = build.op("Mul", build.op("Mul", build.op("Mul", inverse, inverse), product), build.op("Mul", slope, part))
    moved = build.op("BatchNormalization", gradient, slope, shift, zeros, build.op("Exp", zeros), epsilon=0.0)
    pulled = build.op("Mul", centered, build.op("Reshape", pull, column))
    outputs = [build.op("Sub", moved, pulled), build.op("Mul", product, inverse), total]
    build.before(node)
    replace(node, outputs)
