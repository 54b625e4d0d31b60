"""How the memory of every tensor follows from the batch and from what the layers keep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.allocation import alternative, resident, scratch
from graphs.own_sizes import PACKED_BITS, united
from graphs.saved import PACKED, Store
from graphs.sizes import find_sizes
from graphs.tensor_size import TensorSize, kept_count

KEEPERS = {"Sparsify", "SparsifyHalf", "SparsifyPair", "Narrow", "NarrowHalf", "SelectNorm", "SelectConv"}
"""Operators whose second output says where the kept elements are, in a length that depends on their number."""

CROWD = 8
"""Images of a batch in which most buffers are pages of their own."""

MANY = 4 * CROWD
"""Images for which buffers of bounded size have reached it: what one more takes is a mean over those from CROWD on."""

TRIALS = 1000


@dataclass(frozen=True)
class Footprint:
    """bytes + bytes_per_sample * N, and of what `source` keeps bits_per_kept for each element or, with is_places, its
    places. source: a layer, by number, or the number of layers and a store's.

    alone: instead of `bytes` if N = 1, where most buffers are too small to be pages of their own.
    """

    alone: int
    bytes: int
    bytes_per_sample: int
    source: int | None = None
    bits_per_kept: int = 0
    is_places: bool = False


@dataclass(frozen=True)
class Condition:
    """That `source` keeps at least this share of its elements or, without one, so many that TopK sorts."""

    source: int
    share: float | None


class Footprints:
    """Those of a graph, from three walks over it: two batches with nothing kept, and one with some kept of each layer.

    elements: of each layer for one image.
    """

    def __init__(self, graph: ir.Graph, stores: Sequence[Store], elements: Sequence[int]) -> None:
        ratios, self._sources = _distinct(stores, [CROWD * count for count in elements])
        nothing = [1.0] * len(elements)
        self._few = find_sizes(graph, CROWD, nothing)
        self._many = find_sizes(graph, MANY, nothing)
        self._kept = find_sizes(graph, CROWD, ratios)
        known = self._few.keys() & self._many.keys()
        self._one = {value: _shrunk(self._few[value], self._many[value]) for value in known}

    def of(self, value: ir.Value) -> Footprint | None:
        """None where the size is not known."""
        if value not in self._one:
            return None
        node = value.producer()
        if node is not None and node.op_type in KEEPERS and value is node.outputs[1]:
            return Footprint(0, 0, 0, self._source(self._kept[node.outputs[0]]), is_places=True)
        if node is not None and node.op_type == PACKED and node.inputs[0] is not None:
            return Footprint(0, 0, 0, self._source(self._kept[node.inputs[0]]), PACKED_BITS)
        return self._between(self._one[value], self._few[value], self._many[value], self._kept[value])

    def scratch_of(self, node: ir.Node) -> list[Footprint]:
        """What a node needs while it runs."""
        walks = (scratch(node, sizes) for sizes in (self._one, self._few, self._many, self._kept))
        return [self._between(*sizes) for sizes in zip(*walks, strict=True)]

    def alternative_of(self, node: ir.Node) -> Iterator[tuple[Condition, Footprint]]:
        """What it needs instead on a condition."""
        one, few, many = (alternative(node, sizes) for sizes in (self._one, self._few, self._many))
        if one is None or few is None or many is None:
            return
        if self._kept[few.kept] != self._few[few.kept]:  # what a ratio decides
            condition = Condition(self._source(self._kept[few.kept]), few.share)
            yield condition, self._between(one.buffer, few.buffer, many.buffer, few.buffer)

    def _between(self, one: TensorSize, few: TensorSize, many: TensorSize, kept: TensorSize) -> Footprint:
        each = (many.bytes - few.bytes) // (MANY - CROWD)
        alone, rest = resident(one.bytes) - each, resident(few.bytes) - CROWD * each
        if kept.elements <= few.elements:
            return Footprint(alone, rest, each)
        return Footprint(alone, rest, each, self._source(kept), kept.dtype.bitwidth)

    def _source(self, kept: TensorSize) -> int:
        return self._sources[kept.elements]


def _shrunk(few: TensorSize, many: TensorSize) -> TensorSize:
    """The size for one image, from those for CROWD and for MANY."""
    sides = zip(few.shape, many.shape, strict=True)
    shrunk = (side - (other - side) * (CROWD - 1) // (MANY - CROWD) for side, other in sides)
    return TensorSize(few.dtype, tuple(shrunk))


def _distinct(stores: Sequence[Store], elements: Sequence[int]) -> tuple[list[float], dict[int, int]]:
    """Prune ratios with which no two sources keep as many elements; and the source by that number.

    Layers that share a store, but not as a union, keep the same: what is narrowed down for one is taken for the store.
    """
    random = np.random.default_rng(0)
    for _ in range(TRIALS):
        ratios = [float(ratio) for ratio in random.uniform(0.6, 0.95, len(elements))]
        for store in stores:
            for layer in () if store.union else store.layers:
                ratios[layer] = ratios[store.layers[0]]
        kept = dict(_kept(stores, elements, ratios))
        sources = {count: source for source, count in kept.items()}
        if len(sources) == len(kept):
            return ratios, sources
    raise AssertionError("the layers are too small to be told apart")


def _kept(stores: Sequence[Store], elements: Sequence[int], ratios: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Each source and how many elements it keeps."""
    counts = [kept_count(count, ratio) for count, ratio in zip(elements, ratios, strict=True)]
    shared = {layer for store in stores if len(store.layers) > 1 and not store.union for layer in store.layers}
    yield from ((layer, count) for layer, count in enumerate(counts) if layer not in shared)
    for number, store in enumerate(stores, len(elements)):
        of_layers = [counts[layer] for layer in store.layers]
        if len(store.layers) > 1:
            yield number, united(elements[store.layers[0]], *of_layers) if store.union else max(of_layers)
