from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, SCHEDULE
from graphs.losses.distillation import CONSTANT
from graphs.passes.rewrite import Rewrite
from graphs.regions import backward_nodes


@dataclass(frozen=True)
class BindConstants(Rewrite):
    """What the loss took for constant while the graph was differentiated is the value that the graph computes.

    No input X.constant is left. What the engine placed behind the forward pass although it belongs to it runs early.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [value for value in graph.inputs if str(value.name).endswith(CONSTANT)]
        computed = {value.name: value for node in graph for value in node.outputs}
        for value in found:
            value.replace_all_uses_with(computed[str(value.name).removesuffix(CONSTANT)])
            graph.inputs.remove(value)
        _hasten(graph)
        return bool(found)


def _hasten(graph: ir.Graph) -> None:
    backward, nodes = backward_nodes(graph), list(graph)
    turn = next((index for index, node in enumerate(nodes) if node in backward), len(nodes))
    for node in nodes[turn:]:
        if node not in backward:
            node.metadata_props[SCHEDULE] = EARLY
