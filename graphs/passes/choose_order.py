from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import onnx_ir as ir

from graphs.liveness import walk
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import needs_of
from graphs.regions import backward_nodes
from graphs.sizes import find_sizes
from graphs.tensor_size import Sizes

BATCH = 8
RATIO = 0.9
"""For what orders are compared: the best hardly depends on it."""


@dataclass(frozen=True)
class ChooseOrder(Rewrite):
    """Where two convolutions read one activation, one of them waits for the moment that keeps the peak lowest.

    A strided shortcut, say, waits until the other branch has shrunk.
    """

    layers: int

    def rewrite(self, graph: ir.Graph) -> bool:
        sizes = find_sizes(graph, BATCH, [RATIO] * self.layers)
        backward = backward_nodes(graph)
        before = list(graph)
        order = [node for node in before if node not in backward]
        for node in _forks(order):
            order = min(_variants(graph, order, node), key=lambda nodes: _crest(nodes, sizes, node))
        after = [*order, *(node for node in before if node in backward)]
        graph.remove(before)
        graph.extend(after)
        return before != after


def _forks(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """The convolutions that share their input with another."""
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    readers: dict[ir.Value | None, list[ir.Node]] = {}
    for node in convolutions:
        readers.setdefault(node.inputs[0], []).append(node)
    return [node for sharing in readers.values() if len(sharing) > 1 for node in sharing]


def _variants(graph: ir.Graph, nodes: list[ir.Node], moved: ir.Node) -> list[list[ir.Node]]:
    """The orders with `moved` directly before each convolution that may follow it."""
    rest = [node for node in nodes if node is not moved]
    source = moved.inputs[0].producer() if moved.inputs[0] is not None else None
    start = rest.index(source) if source in rest else 0
    stops = [index for index in range(start, len(rest)) if rest[index].op_type == "Conv"]
    variants = [_sorted(graph, [*rest[:index], moved, *rest[index:]]) for index in stops[:REACH]]
    return [nodes, *variants]


REACH = 6
"""How many convolutions ahead one may wait."""


def _sorted(graph: ir.Graph, nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """`nodes` in this order as far as each runs behind all that it needs."""
    place = {node: index for index, node in enumerate(nodes)}
    waits = {node: {other for other in needs_of(node, graph) if other in place} for node in nodes}
    followers: dict[ir.Node, list[ir.Node]] = {node: [] for node in nodes}
    for node, needed in waits.items():
        for other in needed:
            followers[other].append(node)
    ready = [place[node] for node, needed in waits.items() if not needed]
    heapify(ready)
    ordered = []
    while ready:
        node = nodes[heappop(ready)]
        ordered.append(node)
        for other in followers[node]:
            waits[other].discard(node)
            if not waits[other]:
                heappush(ready, place[other])
    return ordered


def _crest(nodes: Sequence[ir.Node], sizes: Sizes, around: ir.Node) -> int:
    """The highest live memory near `around`: while its input or its output is."""
    source, result = around.inputs[0], around.outputs[0]
    return max(sum(live.values()) for _, live in walk(nodes, sizes) if source in live or result in live)
