from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs import mecta
from graphs.build import EARLY, Builder, add_input, add_output, producer, replace
from graphs.layers import Layer
from graphs.mecta import Cache, Moments
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.schedule import UPDATED
from graphs.saved import LAYER
from graphs.sizes import GATE

KEPT = ".kept"
"""The value LAYER.kept is what the layer keeps for the backward pass."""


@dataclass(frozen=True)
class NormalizeWithMecta(Rewrite):
    """BatchNorm normalises with running statistics that follow the batch by as much as the two differ.

    What waits for its gradient are the channels that a random choice left, of the layers whose statistics moved by more
    than `threshold`. drop: the share of the channels that is dropped. native: with kernels.
    Adds the input `channel_keys` float32 [sum of C], by which the channels are chosen, and the outputs `kept_elements`
    int64 [L] and, for each running statistic, what follows it.
    Source: MECTA (Hong et al., ICLR 2023); see graphs.mecta.
    """

    layers: tuple[Layer, ...]
    threshold: float
    drop: float
    native: bool = False

    def rewrite(self, graph: ir.Graph) -> bool:
        norms = nodes_of(graph, "BatchNormInternal")
        keys = _split_keys(graph, [_channels(node) for node in norms])
        kept = [self._rewrite_one(graph, *each) for each in zip(norms, self.layers, keys, strict=True)]
        for number, values in enumerate(kept):
            producer(values).metadata_props[LAYER] = str(number)
        report = Builder(graph, EARLY)
        counts = [report.op("Reshape", report.op("Size", values), np.array([1])) for values in kept]
        total = report.op("Concat", *counts, axis=0)
        report.at_end()
        add_output(graph, total, "kept_elements", ir.DataType.INT64, [len(kept)])
        return True

    def _rewrite_one(self, graph: ir.Graph, node: ir.Node, layer: Layer, keys: ir.Value) -> ir.Value:
        """Returns what is kept."""
        activation, scale, bias, running_mean, running_var = node.inputs
        assert activation is not None and scale is not None and running_mean is not None and running_var is not None
        channels, epsilon = _channels(node), node.attributes["epsilon"].as_float()
        build = Builder(graph)
        batch, running = mecta.measure(build, activation, self.native), Moments(running_mean, running_var)
        weight = mecta.forgetting(build, batch, running)
        following = mecta.moved(build, running, batch, weight)
        gate = build.op("Greater", weight, self.threshold, name=f"{layer.name}{GATE}")
        cache = mecta.keep(build, activation, batch.mean, keys, mecta.kept_channels(channels, self.drop), gate)
        cache.values.name = f"{layer.name}{KEPT}"
        output = self._normalize(build, activation, scale, bias, following, epsilon)
        build.before(node)
        (gradient,) = (i for i in node.outputs[3].consumers() if i.op_type == "BatchNormalizationGrad")
        _replace_gradient(graph, gradient, cache, batch, following, epsilon)
        replace(node, [output, following.mean, following.variance])
        for statistic, value in ((running_mean, following.mean), (running_var, following.variance)):
            add_output(graph, value, f"{statistic.name}{UPDATED}", ir.DataType.FLOAT, [channels])
        return cache.values

    def _normalize(
        self,
        build: Builder,
        activation: ir.Value,
        scale: ir.Value,
        bias: ir.Value | None,
        moments: Moments,
        epsilon: float,
    ) -> ir.Value:
        if self.native:
            inverse = moments.inverse(build, epsilon)
            return build.own("BatchNormalize", 1, activation, scale, bias, moments.mean, inverse)[0]
        operands = (activation, scale, bias, moments.mean, moments.variance)
        return build.op("BatchNormalization", *operands, epsilon=epsilon)


def _replace_gradient(
    graph: ir.Graph, node: ir.Node, cache: Cache, batch: Moments, running: Moments, epsilon: float
) -> None:
    gradient, scale = node.inputs[0], node.inputs[2]
    assert gradient is not None and scale is not None
    build = Builder(graph)
    found = mecta.differentiate(build, gradient, cache, scale, batch, running, epsilon)
    build.before(node)
    replace(node, [found.activation, found.weight, found.bias])


def _split_keys(graph: ir.Graph, channels: Sequence[int]) -> Sequence[ir.Value]:
    keys = add_input(graph, "channel_keys", ir.DataType.FLOAT, [sum(channels)])
    split = Builder(graph)
    pieces = split.ops("Split", len(channels), keys, np.array(channels, np.int64), axis=0)
    split.before(graph[0])
    return pieces


def _channels(node: ir.Node) -> int:
    scale = node.inputs[1]
    assert scale is not None and scale.shape is not None
    return int(scale.shape.numpy()[0])
