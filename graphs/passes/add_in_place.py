from dataclasses import dataclass
from functools import reduce

import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.sizes import find_sizes


@dataclass(frozen=True)
class AddInPlace(Rewrite):
    """Activations and gradients of equal shape are summed into the memory of the one that is computed last."""

    def rewrite(self, graph: ir.Graph) -> bool:
        sizes = find_sizes(graph, batch=2)
        places = {value: index for index, node in enumerate(graph) for value in node.outputs}

        def is_map(value: ir.Value | None) -> bool:
            return value in places and value in sizes and len(sizes[value].shape) > 2

        found = [
            node
            for node in nodes_of(graph, "Add", "Sum")
            if all(is_map(value) for value in node.inputs) and len({sizes[v].shape for v in node.inputs if v}) == 1
        ]
        for node in found:
            _sum_into_latest(graph, node, places)
        return bool(found)


def _sum_into_latest(graph: ir.Graph, node: ir.Node, places: dict[ir.Value, int]) -> None:
    operands = sorted((value for value in node.inputs if value is not None), key=lambda v: places.get(v, -1))
    build = Builder(graph)
    total = reduce(lambda total, value: build.own("AddInto", 1, total, value)[0], operands[-2::-1], operands[-1])
    build.before(node)
    places.update({value: places[node.outputs[0]] for added in build.nodes for value in added.outputs})
    replace(node, [total])
