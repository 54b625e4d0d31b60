"""What waits in memory between forward and backward, counted."""

from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import produced_by
from graphs.own_sizes import PACKED_BITS
from graphs.regions import backward_nodes, saved_values
from graphs.sizes import find_sizes
from graphs.tensor_size import TensorSize

KINDS = {"Cast": "indices", "MaxPool": "indices"}
MASKS = {"PackMask": 0, "ReluPack": 1, "BatchNormalizeRelu": 1}
"""Operators that give one bit an element, and as which output."""

PAIR = "SparsifyPair"
KEEPERS = {"Sparsify", "SparsifyHalf", PAIR}
PACKED = "PackValues"
IGNORED = {"Shape", "Size", "Split"}
"""Descriptions of shapes, a few bytes each, and the ratios."""


LAYER = "toolchain.layer"
"""By its number, the layer whose activation a node keeps, or as much of it as a batch asks for."""


@dataclass(frozen=True)
class SavedTensor:
    """A value that waits for the backward pass: `bytes` + `bytes_per_sample` for each sample of the batch."""

    name: str
    kind: str
    bytes_per_sample: int
    bytes: int
    layer: int | None = None


def dense_saved_bytes(graph: ir.Graph, batch: int) -> int:
    """Bytes that wait for the backward pass in a graph without pruning, each tensor counted once."""
    sizes = find_sizes(graph, batch)
    saved = [value for value in saved_values(graph) if _op_type(value) not in IGNORED and value in sizes]
    return sum(sizes[value].bytes for value in saved)


def find_saved(graph: ir.Graph) -> tuple[SavedTensor, ...]:
    """All that waits for the backward pass of a rewritten graph but the pruned activations themselves."""
    one, two = (find_sizes(graph, batch) for batch in (1, 2))
    return tuple(
        _saved(value, one[value], two[value])
        for value in saved_values(graph)
        if _op_type(value) not in IGNORED and not _is_kept(value) and value in one
    )


def _saved(value: ir.Value, one: TensorSize, two: TensorSize) -> SavedTensor:
    """From its size for batches of one and of two. A mask of n bits that is not whole bytes is counted up."""
    each = two.bytes - one.bytes
    if MASKS.get(_op_type(value)) == value.index():
        return SavedTensor(str(value.name), "mask", one.bytes, 0)
    node = value.producer()
    layer = node.metadata_props.get(LAYER) if node is not None else None
    number = int(layer) if layer is not None else None
    return SavedTensor(str(value.name), KINDS.get(_op_type(value), "exact"), each, one.bytes - each, number)


@dataclass(frozen=True)
class Store:
    """A stored activation: of `layers`, by number, the most that one of them keeps or, as a union, what all keep."""

    layers: tuple[int, ...]
    union: bool


def find_stores(graph: ir.Graph) -> tuple[Store, ...]:
    """The images are pruned in the backward pass and wait, if for anything, as what they are."""
    backward = backward_nodes(graph)
    ratios = {
        value: number
        for node in graph
        if node.op_type == "Split" and _reads_ratios(node)
        for number, value in enumerate(node.outputs)
    }
    keepers = [node for node in graph if node.op_type in KEEPERS and node not in backward]
    return tuple(Store(tuple(ratios[ratio] for ratio in _ratios(node)), node.op_type == PAIR) for node in keepers)


def find_value_bits(graph: ir.Graph) -> int:
    """Of a kept float32 value while it waits."""
    return PACKED_BITS if any(node.op_type == PACKED for node in graph) else 32


def _reads_ratios(node: ir.Node) -> bool:
    return node.inputs[0] is not None and node.inputs[0].name == "prune_ratios"


def _ratios(keeper: ir.Node) -> list[ir.Value]:
    """The prune ratios of a pair, or those whose lowest `keeper` takes."""
    if keeper.op_type == PAIR:
        return [value for value in keeper.inputs[1:3] if value is not None]
    ratio = keeper.inputs[1]
    assert ratio is not None
    lowest = produced_by(ratio, "Min")
    return [value for value in lowest.inputs if value is not None] if lowest is not None else [ratio]


def _is_kept(value: ir.Value) -> bool:
    """Whether `value` is part of a stored activation, which is counted by its prune ratio."""
    node = value.producer()
    halved = node is not None and node.op_type == "Cast" and produced_by(node.inputs[0], "Clip") is not None
    return _op_type(value) in {*KEEPERS, PACKED} or (halved and value.dtype == ir.DataType.FLOAT16)


def _op_type(value: ir.Value) -> str:
    node = value.producer()
    return node.op_type if node is not None else ""
