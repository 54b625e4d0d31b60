from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import produced_by
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class CenterInSparsify(Rewrite):
    """Sparsify subtracts each channel's mean as it reads, and no centred tensor is made."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "Sparsify") if _column(node) is not None]
        for node in found:
            centering, column = produced_by(node.inputs[0], "Sub"), _column(node)
            assert centering is not None and column is not None
            node.replace_input_with(0, centering.inputs[0])
            node.resize_inputs(3)
            node.replace_input_with(2, column.inputs[0])
        return bool(found)


def _column(sparsify: ir.Node) -> ir.Node | None:
    """The node that makes the [1, C, 1, 1] of what is subtracted from a tensor [N, C, H, W], if it is a mean."""
    centering = produced_by(sparsify.inputs[0], "Sub")
    column = produced_by(centering.inputs[1], "Reshape") if centering is not None else None
    measured = produced_by(column.inputs[0], "ChannelMoments") if column is not None else None
    return column if measured is not None else None
