from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class SparsifyHalf(Rewrite):
    """The kernels that keep values keep them in half precision; those that read them take either."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "Sparsify")
        for node in found:
            node.op_type = "SparsifyHalf"
        return bool(found)
