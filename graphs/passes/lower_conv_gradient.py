from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.conv import ConvGeometry
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class LowerConvGradient(Rewrite):
    """The gradients of convolutions are matrix products and convolutions.

    The weight's comes first, so that the restored activation is gone before the input's is made.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "ConvGrad")
        for node in found:
            _lower(graph, node)
        return bool(found)


def _lower(graph: ir.Graph, node: ir.Node) -> None:
    gradient, activation, weight = node.inputs[:3]
    geometry = ConvGeometry.of(node)
    build = Builder(graph)
    wanted = [bool(output.name and output.uses()) for output in node.outputs] + [False] * 2
    weight_gradient = geometry.weight_gradient(build, gradient, activation) if wanted[1] else None
    input_gradient = geometry.input_gradient(build, gradient, weight) if wanted[0] else None
    bias_gradient = build.op("ReduceSum", gradient, np.array([0, 2, 3]), keepdims=0) if wanted[2] else None
    build.before(node)
    replace(node, [input_gradient, weight_gradient, bias_gradient])
