from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, producer
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class CenterBatchNorm(Rewrite):
    """The gradient of BatchNorm reads its input minus the batch's mean: an element that is dropped is the mean.

    With the centred input, 0 stands for a normalised activation of 0. The mean and the inverse deviation stay exact.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "BatchNormalizationGrad")
        centered: dict[ir.Value, ir.Value] = {}
        for node in found:
            _, activation, scale, mean, _ = node.inputs
            assert activation is not None and mean is not None and scale is not None and scale.shape is not None
            if mean not in centered:
                centered[mean] = _centered(graph, activation, mean)
            node.replace_input_with(1, centered[mean])
            node.replace_input_with(3, Builder(graph).constant(np.zeros(scale.shape.numpy(), np.float32)))
        return bool(found)


def _centered(graph: ir.Graph, activation: ir.Value, mean: ir.Value) -> ir.Value:
    assert activation.shape is not None
    center = Builder(graph, EARLY)
    column = center.op("Reshape", mean, np.array([1, -1, *[1] * (len(activation.shape) - 2)]))
    centered = center.op("Sub", activation, column)
    centered.shape, centered.type = activation.shape, activation.type
    center.after(producer(mean))
    return centered
