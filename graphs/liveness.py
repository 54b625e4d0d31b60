"""Peak memory of a graph that runs in the order of its nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.schedule import UPDATED
from graphs.sizes import TensorSize, find_sizes

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
"""Operators whose output is their input's memory."""

WORKSPACE = {"TopK": 8}
"""Bytes an element that an operator of ONNX Runtime needs while it runs: TopK sorts an array of places."""


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
    owners = _owners(graph)
    last = _last_readers(graph, owners)
    live: dict[ir.Value, int] = {}
    peak = Peak(0, "", ())
    for node in graph:
        for value in node.outputs:
            if owners[value] is value and value in sizes and not _is_state(value):
                live[value] = sizes[value].bytes
        total = sum(live.values()) + _workspace(node, sizes)
        if total > peak.bytes:
            peak = Peak(total, str(node.name), _largest(live))
        for value in last.get(node, ()):
            live.pop(value, None)
    return peak


def _workspace(node: ir.Node, sizes: Mapping[ir.Value, TensorSize]) -> int:
    source = node.inputs[0] if node.op_type in WORKSPACE else None
    return WORKSPACE[node.op_type] * sizes[source].elements if source is not None and source in sizes else 0


def _owners(graph: ir.Graph) -> dict[ir.Value, ir.Value]:
    """For each value the one whose memory it is."""
    owners: dict[ir.Value, ir.Value] = {}
    for node in graph:
        for value in node.outputs:
            source = node.inputs[0] if node.op_type in VIEWS and node.inputs else None
            owners[value] = owners.get(source, source) if source is not None else value
    return owners


def _last_readers(graph: ir.Graph, owners: dict[ir.Value, ir.Value]) -> dict[ir.Node, list[ir.Value]]:
    """What each node is the last to read, and what nobody reads behind its producer."""
    last: dict[ir.Value, ir.Node] = {}
    for node in graph:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value in owners:
                last[owners[value]] = node
    kept = {owners.get(value, value) for value in graph.outputs}
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
