"""What ONNX Runtime and the C library take beyond the tensors of a graph: measured, onnxruntime 1.31, one thread."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import OWN_DOMAIN
from graphs.kernel_scratch import dense_scratch, kernel_scratch
from graphs.tensor_size import Sizes, TensorSize

PAGE = 4096
MAPPED = 2048
"""Buffers from this size on are pages of their own, as the driver tells the C library."""

HEADER = 96
"""Of such a buffer: what the C library writes in front of it, and the alignment that the runtime asks for."""

RUN_BYTES, BOUND_BYTES, NODE_BYTES = -170_000, 680, 47
"""What a run takes besides its tensors, for each input and output and for each node: fitted to seven models.

With native operators the first is 0: pages that serve again are resident even where nothing is written to them.
"""

CONV_BLOCK = TensorSize(ir.DataType.FLOAT, (128, 128))
"""The part of the unfolded input that a convolution has in memory at once, where it has more pixels than filters."""

HEAP_EXPONENT = 0.725
"""TopK of k of n elements sorts if k is n to this power or more."""

DENSE_SHARE = 0.6
"""Of the elements of an activation: ConvWeightGradient multiplies dense matrices where more are kept, about."""

IN_PLACE = {"Relu", "Clip", "Sigmoid", "Tanh", "Softmax"}
"""Standard operators that take the memory of their input where nothing reads it behind them."""


def resident(size: int) -> int:
    """Bytes of memory that a buffer of `size` bytes takes."""
    return size if size < MAPPED else -(-(size + HEADER) // PAGE) * PAGE


def scratch(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """The buffers that an operator needs while it runs, as far as they are large."""
    if not _is_known(node, sizes):
        return ()
    if node.domain == OWN_DOMAIN:
        return kernel_scratch(node, sizes)
    return _RULES[node.op_type](node, sizes) if node.domain == "" and node.op_type in _RULES else ()


@dataclass(frozen=True)
class Alternative:
    """What an operator needs instead of its scratch where many elements are kept of an activation, namely as many as
    `kept` has. share: of all its elements, from which on; None: see `sorts`.
    """

    buffer: TensorSize
    kept: ir.Value
    share: float | None


def alternative(node: ir.Node, sizes: Sizes) -> Alternative | None:
    """TopK that sorts the places of all elements, ConvWeightGradient that multiplies dense matrices."""
    if not _is_known(node, sizes):
        return None
    if node.op_type == "TopK":
        places = TensorSize(ir.DataType.INT64, (_of(node.inputs[0], sizes).elements,))
        return Alternative(places, node.outputs[0], None)
    if node.op_type == "ConvWeightGradient" and node.inputs[1] is not None:
        return Alternative(dense_scratch(node, sizes), node.inputs[1], DENSE_SHARE)
    return None


def sorts(elements: int, kept: int) -> bool:
    """Whether TopK of `kept` of `elements` sorts, because a heap of the best would be slower."""
    return kept >= 4 and math.log2(kept) >= HEAP_EXPONENT * math.log2(elements)


def _is_known(node: ir.Node, sizes: Sizes) -> bool:
    return all(value is None or value in sizes for value in (*node.inputs[:2], *node.outputs[:1]))


def _of(value: ir.Value | None, sizes: Sizes) -> TensorSize:
    assert value is not None
    return sizes[value]


def _heap(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """TopK keeps a heap of places, unless it sorts them."""
    return [TensorSize(ir.DataType.INT64, (sizes[node.outputs[0]].elements,))]


def _places(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """NonZero collects its places, then copies them."""
    return [sizes[node.outputs[0]]]


def _scatter(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """ScatterElements copies the places that it is given, as 64-bit numbers."""
    return [TensorSize(ir.DataType.INT64, _of(node.inputs[1], sizes).shape)]


def _select(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """Where makes a tensor of what it takes from each side."""
    return [sizes[node.outputs[0]]] * 2


def _conv(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """The input unfolded to a matrix, whole where there are more filters than pixels, else a block at a time."""
    weight, result = _of(node.inputs[1], sizes).shape, sizes[node.outputs[0]].shape
    if _is_pointwise(node, weight):
        return []
    filters, pixels = weight[0] // _group(node), math.prod(result[2:])
    return [TensorSize(ir.DataType.FLOAT, (math.prod(weight[1:]), pixels))] if filters > pixels else [CONV_BLOCK]


def _conv_transpose(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """The output of one image and group, not yet folded."""
    source, weight = (_of(value, sizes).shape for value in node.inputs[:2])
    return [TensorSize(ir.DataType.FLOAT, (math.prod(weight[1:]), math.prod(source[2:])))]


def _is_pointwise(node: ir.Node, weight: Sequence[int]) -> bool:
    """A convolution that is a matrix product as it stands."""
    return set(weight[2:]) == {1} and _all(node, "strides", 1) and _all(node, "pads", 0)


def _all(node: ir.Node, name: str, wanted: int) -> bool:
    return name not in node.attributes or set(node.attributes[name].as_ints()) == {wanted}


def _group(node: ir.Node) -> int:
    return int(node.attributes["group"].as_int()) if "group" in node.attributes else 1


_RULES: Mapping[str, Callable[[ir.Node, Sizes], Sequence[TensorSize]]] = {
    "TopK": _heap,
    "NonZero": _places,
    "ScatterElements": _scatter,
    "Where": _select,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}


def fixed_bytes(graph: ir.Graph) -> int:
    """What a run takes that no tensor is: the runtime's books on its values, and gaps between small buffers."""
    bound = len(graph.inputs) + len(graph.outputs)
    of_run = 0 if any(node.domain == OWN_DOMAIN for node in graph) else RUN_BYTES
    return max(0, of_run + BOUND_BYTES * bound + NODE_BYTES * len(graph))
