from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, producer
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class CenterLayerNorm(Rewrite):
    """The gradient of LayerNorm reads its input minus each row's mean: an element that is dropped is the mean.

    With the centred input, 0 stands for a normalised activation of 0. The inverse deviation stays exact, and the mean
    is not read any more.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "LayerNormalizationGrad")
        for node in found:
            _, activation, _, mean, inverse = node.inputs
            assert activation is not None and mean is not None
            center = Builder(graph, EARLY)
            centered = center.op("Sub", activation, mean)
            centered.shape, centered.type = activation.shape, activation.type
            center.after(producer(mean))
            late = Builder(graph, LATE)
            zeros = late.op("Mul", inverse, 0.0)
            late.before(node)
            node.replace_input_with(1, centered)
            node.replace_input_with(3, zeros)
        return bool(found)
