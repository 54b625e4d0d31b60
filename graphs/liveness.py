"""Peak memory of a graph that runs in the order of its nodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphs.ops.aliases import memory_of
from graphs.passes.schedule import UPDATED
from graphs.sizes import find_sizes
from graphs.tensor_size import TensorSize

WORKSPACE = {"TopK": 8}
"""Bytes an element that an operator of ONNX Runtime needs while it runs: TopK sorts an array of places."""

Sizes = Mapping[ir.Value, TensorSize]


@dataclass(frozen=True)
class Peak:
    """bytes: live at most at once, above inputs, parameters and state. node: the one that runs then."""

    bytes: int
    node: str
    live: tuple[tuple[str, int], ...]


def find_peak(graph: ir.Graph, batch: int, ratios: Sequence[float]) -> Peak:
    """Simulates allocation and release with every tensor freed behind its last reader.

    Of what a node needs inside itself only the large is counted, see WORKSPACE. live: the tensors at the peak, largest
    first, with their bytes.
    """
    sizes = find_sizes(graph, batch, ratios)
    peak = Peak(0, "", ())
    for node, live in walk(list(graph), sizes):
        total = sum(live.values()) + _workspace(node, sizes)
        if total > peak.bytes:
            peak = Peak(total, str(node.name), _largest(live))
    return peak


def walk(nodes: Sequence[ir.Node], sizes: Sizes) -> Iterator[tuple[ir.Node, dict[ir.Value, int]]]:
    """Each node with the bytes of all that is live while it runs; the dictionary is one and changes."""
    owners = _owners(nodes)
    last = _last_readers(nodes, owners)
    live: dict[ir.Value, int] = {}
    for node in nodes:
        for value in node.outputs:
            if owners[value] is value and value in sizes and not _is_state(value):
                live[value] = sizes[value].bytes
        yield node, live
        for value in last.get(node, ()):
            live.pop(value, None)


def _workspace(node: ir.Node, sizes: Sizes) -> int:
    source = node.inputs[0] if node.op_type in WORKSPACE else None
    return WORKSPACE[node.op_type] * sizes[source].elements if source is not None and source in sizes else 0


def _owners(nodes: Sequence[ir.Node]) -> dict[ir.Value, ir.Value]:
    """For each value the one whose memory it is."""
    owners: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        for index, value in enumerate(node.outputs):
            source = memory_of(node, index)
            owners[value] = owners.get(source, source) if source is not None else value
    return owners


def _last_readers(nodes: Sequence[ir.Node], owners: dict[ir.Value, ir.Value]) -> dict[ir.Node, list[ir.Value]]:
    """What each node is the last to read, and what nobody reads behind its producer."""
    last: dict[ir.Value, ir.Node] = {}
    for node in nodes:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value in owners:
                last[owners[value]] = node
    kept = {owners[value] for value in owners if value.is_graph_output()}
    freed: dict[ir.Node, list[ir.Value]] = {}
    for value, node in last.items():
        if value not in kept:
            freed.setdefault(node, []).append(value)
    return freed


def _is_state(value: ir.Value) -> bool:
    """State is written over the input that it follows."""
    return value.is_graph_output() and str(value.name).endswith(UPDATED)


def _largest(live: dict[ir.Value, int]) -> tuple[tuple[str, int], ...]:
    ranked = sorted(live.items(), key=lambda item: -item[1])
    return tuple((str(value.name), size) for value, size in ranked[:12])
