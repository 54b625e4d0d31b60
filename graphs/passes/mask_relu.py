from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class MaskRelu(Rewrite):
    """The gradient of Relu reads one flag per element instead of its output."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "ReluGrad")
        for node in found:
            gradient, output = node.inputs
            flag = Builder(graph, EARLY)
            positive = flag.op("Greater", output, 0.0)
            positive.type = ir.TensorType(ir.DataType.BOOL)
            flag.before(node)
            select = Builder(graph)
            selected = select.op("Where", positive, gradient, 0.0)
            select.before(node)
            replace(node, [selected])
        return bool(found)
