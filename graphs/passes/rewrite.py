"""What a pass is: a frozen dataclass whose docstring is the guarantee that holds after it ran."""

from abc import abstractmethod

import onnx_ir as ir


class Rewrite(ir.passes.InPlacePass):
    """A pass that changes the main graph in place."""

    @abstractmethod
    def rewrite(self, graph: ir.Graph) -> bool:
        """Changes `graph`; says whether it changed."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, self.rewrite(model.graph))


def nodes_of(graph: ir.Graph, *op_types: str) -> list[ir.Node]:
    """The nodes of these operators, as they stand now: the graph may change while they are visited."""
    return [node for node in graph if node.op_type in op_types]


Pass = ir.passes.InPlacePass
