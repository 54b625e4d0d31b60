from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class MaskRelu(Rewrite):
    """The gradients of a Relu read one flag per element instead of its output."""

    def rewrite(self, graph: ir.Graph) -> bool:
        flags: dict[ir.Value | None, ir.Value] = {}
        found = nodes_of(graph, "ReluGrad")
        for node in found:
            build = Builder(graph)
            gradient, output = node.inputs
            if output not in flags:
                flags[output] = build.marked(EARLY).op("Greater", output, 0.0)
                flags[output].type = ir.TensorType(ir.DataType.BOOL)
            masked = build.op("Where", flags[output], gradient, 0.0)
            build.before(node)
            replace(node, [masked])
        return bool(found)
