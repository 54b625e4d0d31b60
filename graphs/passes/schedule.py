from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, SCHEDULE
from graphs.ops.aliases import overwritten, readers_through_views
from graphs.passes.rewrite import Rewrite
from graphs.regions import batch_nodes

UPDATED = ".updated"
"""A graph output NAME.updated is written over the graph input NAME."""


@dataclass(frozen=True)
class Schedule(Rewrite):
    """The nodes stand in the order in which they are to run.

    A node marked EARLY stands directly behind the last of what it needs, one marked LATE directly before the first
    that needs it, the others in the order they had. What is overwritten, state or in place, has had its last reader.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        before = list(graph)
        after = list(_order(graph))
        if before == after:
            return False
        graph.remove(before)
        graph.extend(after)
        return True


def _order(graph: ir.Graph) -> Iterator[ir.Node]:
    plan = _Plan(graph)
    anchors = [node for node in graph if node.metadata_props.get(SCHEDULE) is None]
    for node in [*anchors, *graph]:
        yield from plan.run(node)


class _Plan:
    """What has run so far, and what may run next."""

    def __init__(self, graph: ir.Graph) -> None:
        self.place = {node: index for index, node in enumerate(graph)}
        self.needs = {node: needs_of(node, graph) for node in graph}
        self.needed_by: dict[ir.Node, list[ir.Node]] = {node: [] for node in graph}
        for node, needed in self.needs.items():
            for other in needed:
                self.needed_by[other].append(node)
        self.of_batch = set(batch_nodes(graph))
        self.done: set[ir.Node] = set()

    def run(self, node: ir.Node) -> Iterator[ir.Node]:
        """What `node` still needs, then `node`, then every early node that has become ready."""
        stack = [node]
        while stack:
            missing = self.needs[stack[-1]] - self.done
            if stack[-1] not in self.done and missing:
                stack.append(min(missing, key=self.place.__getitem__))
                continue
            node = stack.pop()
            if node not in self.done:
                self.done.add(node)
                yield node
                stack.extend(reversed(self._ready_after(node)))

    def _ready_after(self, node: ir.Node) -> list[ir.Node]:
        return [other for other in self.needed_by[node] if self._is_ready(other)]

    def _is_ready(self, node: ir.Node) -> bool:
        """Whether an early node could run now, perhaps behind some that do not wait for the batch."""
        early = node.metadata_props.get(SCHEDULE) == EARLY
        return early and node not in self.done and not (self.needs[node] - self.done) & self.of_batch


def needs_of(node: ir.Node, graph: ir.Graph) -> set[ir.Node]:
    """The nodes that have to run before `node`: its producers, and who reads what it overwrites."""
    needed = {value.producer() for value in node.inputs if value is not None}
    for output in node.outputs:
        if output.is_graph_output() and output.name is not None and output.name.endswith(UPDATED):
            needed |= set(_state(graph, output.name.removesuffix(UPDATED)).consumers())
    for value in overwritten(node):
        needed |= set(readers_through_views(value))
    return {other for other in needed if other is not None and other is not node}


def _state(graph: ir.Graph, name: str) -> ir.Value:
    return next(value for value in graph.inputs if value.name == name)
