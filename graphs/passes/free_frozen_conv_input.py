from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.conv import ConvGeometry
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class FreeFrozenConvInput(Rewrite):
    """The gradient of a convolution whose weight is frozen does not read the convolution's input."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "ConvGrad") if not _has_weight_gradient(node)]
        for node in found:
            builder = Builder(graph)
            gradient = ConvGeometry.of(node).input_gradient(builder, node.inputs[0], node.inputs[2])
            builder.before(node)
            replace(node, [gradient])
        return bool(found)


def _has_weight_gradient(node: ir.Node) -> bool:
    return len(node.outputs) > 1 and bool(node.outputs[1].uses())
