from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder
from graphs.ops.aliases import overwritten, readers_through_views
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import UPDATED


@dataclass(frozen=True)
class ProtectOperands(Rewrite):
    """Nothing is overwritten that is still needed: an operator that works in place gets a copy of such an operand.

    Needed are what leaves or enters the graph, except state by whatever follows it, and what is read by a node that
    depends on the one that overwrites, or by another that overwrites.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [
            (node, index)
            for node in graph
            for index, value in enumerate(overwritten(node))
            if _is_needed(graph, node, value)
        ]
        for node, index in found:
            _copy(node, index)
        return bool(found)


def _is_needed(graph: ir.Graph, node: ir.Node, value: ir.Value) -> bool:
    if value.is_graph_output() or value.is_initializer():
        return True
    if value.is_graph_input():
        return not _is_state(graph, value)
    others = [reader for reader in readers_through_views(value) if reader is not node]
    rivals = [reader for reader in others if value in overwritten(reader) and _stands_before(graph, node, reader)]
    return bool(rivals) or bool(set(others) & _dependants(node))


def _is_state(graph: ir.Graph, value: ir.Value) -> bool:
    return any(output.name == f"{value.name}{UPDATED}" for output in graph.outputs)


def _stands_before(graph: ir.Graph, node: ir.Node, other: ir.Node) -> bool:
    order = list(graph)
    return order.index(node) < order.index(other)


def _dependants(node: ir.Node) -> set[ir.Node]:
    """Every node that reads what follows from `node`."""
    found: set[ir.Node] = set()
    waiting = [node]
    while waiting:
        for value in waiting.pop().outputs:
            fresh = set(value.consumers()) - found
            found |= fresh
            waiting.extend(fresh)
    return found


def _copy(node: ir.Node, index: int) -> None:
    build = Builder(node.graph) if isinstance(node.graph, ir.Graph) else None
    assert build is not None
    (copied,) = build.own("Copy", 1, node.inputs[index])
    build.before(node)
    node.replace_input_with(index, copied)
