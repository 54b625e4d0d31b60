"""The points of a step at which its memory can peak, for any batch and any prune ratios."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.allocation import fixed_bytes
from graphs.envelope import highest
from graphs.footprints import Condition, Footprint, Footprints
from graphs.liveness import turns
from graphs.regions import backward_nodes
from graphs.saved import Store

FIXED = 3
"""The first numbers of a row: bytes if N = 1, bytes if N is large, bytes for each image."""


@dataclass(frozen=True)
class Moment:
    """At this point the step needs bytes + bytes_per_sample * N, the stores, and more for each element that is kept.

    layer: of the model, at work then, in its backward pass or its forward one. alone: see Footprint. working: of a
    source the further bytes for each kept element. condition: without which the moment does not count.
    """

    layer: str
    backward: bool
    alone: int
    bytes: int
    bytes_per_sample: int
    working: tuple[tuple[int, int], ...]
    condition: Condition | None


@dataclass(frozen=True)
class Timeline:
    """moments: in order of time. spans: of each store, from the first at which it is in memory to behind the last."""

    moments: tuple[Moment, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Terms:
    """What is kept of the layers. elements: of each for one image. value_bits: of a kept element in a store."""

    stores: tuple[Store, ...]
    elements: tuple[int, ...]
    value_bits: int

    @property
    def sources(self) -> list[int]:
        """For each source how many elements it has for one image."""
        return [*self.elements, *(self.elements[store.layers[0]] for store in self.stores)]

    @property
    def of_store(self) -> list[int]:
        """The source of each store."""
        behind = len(self.elements)
        return [i.layers[0] if len(i.layers) == 1 else behind + number for number, i in enumerate(self.stores)]


def find_timeline(graph: ir.Graph, terms: Terms, parameters: Collection[str]) -> Timeline:
    """The few moments whose highest is the step's peak. parameters: the names of the model's tensors."""
    points = list(_points(graph, terms))
    stores = np.array([_stored(point.row, terms) for point in points]).reshape(len(points), -1)
    rows = np.array([_settled(point.row, terms) for point in points])
    waiting = [terms.value_bits / 8 * terms.sources[source] for source in terms.of_store]
    weights = np.array(waiting + terms.sources, float)
    places = _places(graph, parameters)
    kinds = [(places[point.node][1], point.condition) for point in points]
    chosen = highest(np.hstack([rows[:, :FIXED], stores, rows[:, FIXED:]]), kinds, weights)
    moments = tuple(_moment(rows[index], points[index], *places[points[index].node]) for index in chosen)
    return Timeline(moments, tuple(_span(stores[chosen, number]) for number in range(len(terms.stores))))


@dataclass(frozen=True)
class _Point:
    """What is live while a node runs. row: see `_add`."""

    node: ir.Node
    condition: Condition | None
    row: np.ndarray


def _points(graph: ir.Graph, terms: Terms) -> Iterator[_Point]:
    footprints = Footprints(graph, terms.stores, terms.elements)
    live = np.zeros(FIXED + 2 * len(terms.sources), np.int64)
    live[:2] = fixed_bytes(graph)
    for turn in turns(list(graph)):
        for value in turn.born:
            _add(live, footprints.of(value), 1)
        yield _Point(turn.node, None, _sum(live, footprints.scratch_of(turn.node)))
        for condition, needed in footprints.alternative_of(turn.node):
            yield _Point(turn.node, condition, _sum(live, [needed]))
        for value in turn.dead:
            _add(live, footprints.of(value), -1)


def _sum(live: np.ndarray, needed: Sequence[Footprint]) -> np.ndarray:
    row = live.copy()
    for footprint in needed:
        _add(row, footprint, 1)
    return row


def _add(row: np.ndarray, footprint: Footprint | None, times: int) -> None:
    """To FIXED, then for each source bits a kept element, then for each how often its places."""
    if footprint is None:
        return
    row[0] += times * footprint.alone
    row[1] += times * footprint.bytes
    row[2] += times * footprint.bytes_per_sample
    if footprint.source is not None:
        kept, places = row[FIXED:].reshape(2, -1)
        kept[footprint.source] += times * footprint.bits_per_kept
        places[footprint.source] += times * footprint.is_places


def _stored(row: np.ndarray, terms: Terms) -> np.ndarray:
    """For each store whether it is in memory; if a part of it is, it counts as a whole."""
    kept, places = row[FIXED:].reshape(2, -1)[:, terms.of_store]
    stored: np.ndarray = (kept >= terms.value_bits) | (places > 0)
    return stored


def _settled(row: np.ndarray, terms: Terms) -> np.ndarray:
    """FIXED, and for each source bytes a kept element besides the stores.

    Places besides those of the stores, which are there for a moment only, count as a bit for each element.
    """
    kept, places = row[FIXED:].reshape(2, -1).copy()
    stored = _stored(row, terms)
    kept[terms.of_store] = np.maximum(kept[terms.of_store] - terms.value_bits * stored, 0)
    places[terms.of_store] = np.maximum(places[terms.of_store] - stored, 0)
    bits = places @ -(-np.array(terms.sources) // 8)
    return np.concatenate([row[:2], row[2:FIXED] + bits, -(-kept // 8)])


def _moment(row: np.ndarray, point: _Point, layer: str, backward: bool) -> Moment:
    alone, size, each, *kept = (int(number) for number in row)
    working = tuple((source, needed) for source, needed in enumerate(kept) if needed)
    return Moment(layer, backward, alone, size, each, working, point.condition)


def _span(stored: np.ndarray) -> tuple[int, int]:
    """From the first moment to behind the last."""
    (at,) = np.nonzero(stored)
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)


def _places(graph: ir.Graph, parameters: Collection[str]) -> dict[ir.Node, tuple[str, bool]]:
    """The layer of each node, and whether it runs in the backward pass.

    In the forward pass it is the layer whose parameters were read last, in the backward pass that whose are read next.
    """
    nodes, backward = list(graph), backward_nodes(graph)
    turn = next((index for index, node in enumerate(nodes) if node in backward), len(nodes))
    return {**_nearest(nodes[:turn], parameters, False), **_nearest(nodes[turn:][::-1], parameters, True)}


def _nearest(nodes: Sequence[ir.Node], parameters: Collection[str], backward: bool) -> dict[ir.Node, tuple[str, bool]]:
    """For each node the last layer so far, and for those before any the first one."""
    found = [_layer(node, parameters) for node in nodes]
    layer = next((name for name in found if name), "")
    named = {}
    for node, name in zip(nodes, found, strict=True):
        layer = name or layer
        named[node] = (layer, backward)
    return named


def _layer(node: ir.Node, parameters: Collection[str]) -> str:
    """The module that owns a parameter that `node` reads, if any."""
    read = [str(value.name) for value in node.inputs if value is not None and value.name in parameters]
    return read[0].rpartition(".")[0] if read else ""
