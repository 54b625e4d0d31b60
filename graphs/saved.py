"""What waits in memory between forward and backward, counted."""

from dataclasses import dataclass

import onnx_ir as ir

from graphs.regions import saved_values
from graphs.sizes import TensorSize, find_sizes

KINDS = {"PackMask": "mask", "Cast": "indices"}
IGNORED = {"Shape", "Size", "Split"}
"""Descriptions of shapes, a few bytes each, and the ratios."""


@dataclass(frozen=True)
class SavedTensor:
    """A value that waits for the backward pass: `bytes` + `bytes_per_sample` for each sample of the batch."""

    name: str
    kind: str
    bytes_per_sample: int
    bytes: int


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
        if _op_type(value) not in IGNORED | {"Sparsify"} and value in one
    )


def _saved(value: ir.Value, one: TensorSize, two: TensorSize) -> SavedTensor:
    """From its size for batches of one and of two. A mask of n bits that is not whole bytes is counted up."""
    each = two.bytes - one.bytes
    if _op_type(value) == "PackMask":
        return SavedTensor(str(value.name), "mask", one.bytes, 0)
    return SavedTensor(str(value.name), KINDS.get(_op_type(value), "exact"), each, one.bytes - each)


def _op_type(value: ir.Value) -> str:
    node = value.producer()
    return node.op_type if node is not None else ""
