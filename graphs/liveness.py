"""Peak memory of a graph that runs in the order of its nodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphs.allocation import IN_PLACE, alternative, resident, scratch, sorts
from graphs.ops.aliases import memory_of
from graphs.passes.schedule import UPDATED
from graphs.sizes import find_sizes
from graphs.tensor_size import Sizes, TensorSize


@dataclass(frozen=True)
class Peak:
    """bytes: live at most at once, above inputs, parameters and state. node: the one that runs then."""

    bytes: int
    node: str
    live: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Turn:
    """A node with the buffers that are allocated for it and those that are freed behind it."""

    node: ir.Node
    born: tuple[ir.Value, ...]
    dead: tuple[ir.Value, ...]


def find_peak(graph: ir.Graph, batch: int, ratios: Sequence[float]) -> Peak:
    """Simulates allocation and release with every tensor freed behind its last reader.

    live: the tensors at the peak, largest first, with their bytes.
    """
    sizes = find_sizes(graph, batch, ratios)
    peak = Peak(0, "", ())
    for node, live in walk(list(graph), sizes):
        total = sum(live.values()) + sum(resident(buffer.bytes) for buffer in _scratch(node, sizes))
        if total > peak.bytes:
            peak = Peak(total, str(node.name), _largest(live))
    return peak


def walk(nodes: Sequence[ir.Node], sizes: Sizes) -> Iterator[tuple[ir.Node, dict[ir.Value, int]]]:
    """Each node with the bytes of all that is live while it runs; the dictionary is one and changes."""
    live: dict[ir.Value, int] = {}
    for turn in turns(nodes):
        live.update({value: resident(sizes[value].bytes) for value in turn.born if value in sizes})
        yield turn.node, live
        for value in turn.dead:
            live.pop(value, None)


def turns(nodes: Sequence[ir.Node]) -> Iterator[Turn]:
    """What is allocated and freed when, in the order of `nodes`; state and views take no memory."""
    owners = _owners(nodes)
    last = _last_readers(nodes, owners)
    for node in nodes:
        born = (value for value in node.outputs if owners[value] is value and not _is_state(value))
        yield Turn(node, tuple(born), tuple(last.get(node, ())))


def _scratch(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    other = alternative(node, sizes)
    if other is not None and other.share is None and sorts(other.buffer.elements, sizes[other.kept].elements):
        return [other.buffer]
    return scratch(node, sizes)


def _owners(nodes: Sequence[ir.Node]) -> dict[ir.Value, ir.Value]:
    """For each value the one whose memory it is."""
    place = {node: index for index, node in enumerate(nodes)}
    owners: dict[ir.Value, ir.Value] = {}
    ends: dict[ir.Value, int] = {}  # of each owner, where its memory is read last as far as that is known
    for node in nodes:
        for index, value in enumerate(node.outputs):
            source = memory_of(node, index) or _taken(node, owners, ends, place)
            owner = owners.get(source, source) if source is not None else value
            readers = [place[reader] for reader in value.consumers() if reader in place]
            owners[value] = owner
            ends[owner] = max([ends.get(owner, 0), *readers])
    return owners


def _taken(
    node: ir.Node, owners: Mapping[ir.Value, ir.Value], ends: Mapping[ir.Value, int], place: Mapping[ir.Node, int]
) -> ir.Value | None:
    """The input that a standard operator overwrites: one of known shape, computed here, that it is the last to read."""
    source = node.inputs[0] if node.op_type in IN_PLACE and node.domain == "" else None
    if source is None or source.shape is None or source not in owners or node.outputs[0].is_graph_output():
        return None
    owner = owners[source]
    return source if owner.producer() is not None and ends[owner] == place[node] else None


def _last_readers(nodes: Sequence[ir.Node], owners: dict[ir.Value, ir.Value]) -> dict[ir.Node, list[ir.Value]]:
    """What each node is the last to read. What nobody reads stays: ONNX Runtime frees it with the graph's outputs."""
    last: dict[ir.Value, ir.Node] = {}
    for node in nodes:
        for value in node.inputs:
            if value is not None and value in owners:
                last[owners[value]] = node
    kept = {owners[value] for value in owners if value.is_graph_output()}
    freed: dict[ir.Node, list[ir.Value]] = {}
    for value, node in last.items():
        if value not in kept and value.producer() is not None:
            freed.setdefault(node, []).append(value)
    return freed


def _is_state(value: ir.Value) -> bool:
    """State is written over the input that it follows."""
    return value.is_graph_output() and str(value.name).endswith(UPDATED)


def _largest(live: dict[ir.Value, int]) -> tuple[tuple[str, int], ...]:
    ranked = sorted(live.items(), key=lambda item: -item[1])
    return tuple((str(value.name), size) for value, size in ranked[:12])
