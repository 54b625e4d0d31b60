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
        build.before(node)
        replace(node, [output, *following])
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
