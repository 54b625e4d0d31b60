"""What a pass is: a frozen dataclass whose docstring is the guarantee that holds after it ran."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder, replace

Pass = ir.passes.InPlacePass


class Rewrite(Pass):
    """A pass that changes the main graph in place."""

    @abstractmethod
    def rewrite(self, graph: ir.Graph) -> bool:
        """Changes `graph`; says whether it changed."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, self.rewrite(model.graph))


class Replacement(Rewrite):
    """A pass that puts other nodes in the place of every node of some operators."""

    operators: ClassVar[tuple[str, ...]]

    @abstractmethod
    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        """What takes the place of `node`'s outputs, computed by what is added to `build`; None where none is used."""

    def applies(self, node: ir.Node) -> bool:
        return True

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, *self.operators) if self.applies(node)]
        for node in found:
            build = Builder(graph)
            outputs = self.replacement(build, node)
            build.before(node)
            replace(node, outputs)
        return bool(found)


def nodes_of(graph: ir.Graph, *op_types: str) -> list[ir.Node]:
    """The nodes of these operators, as they stand now: the graph may change while they are visited."""
    return [node for node in graph if node.op_type in op_types]
