"""How large what the operators of `graphs.kernels` give is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from graphs.tensor_size import TensorSize, bits, kept_count, places

DENSITY = {"BatchNormalizeRelu": 0.5, "ReluPack": 0.65}
"""The share of a Relu's output that is taken to be above zero, behind a BatchNorm and behind an addition. It is known
only once the step has run; this is what ResNets of random and of trained weights have, within 0.15."""

PACKED_BITS = 28
"""Of a kept value while it waits, see pack_values.c; a byte for all of them comes to it."""


class Walk(Protocol):
    """What is known of a graph's values so far."""

    sizes: dict[ir.Value, TensorSize]
    known: dict[ir.Value, np.ndarray]
    flags: dict[ir.Value, int]


Rule = Callable[[Walk, ir.Node], Sequence[TensorSize | None]]


def _of(walk: Walk, node: ir.Node, index: int) -> TensorSize:
    value = node.inputs[index]
    assert value is not None
    return walk.sizes[value]


def _known(walk: Walk, node: ir.Node, index: int) -> np.ndarray:
    value = node.inputs[index]
    assert value is not None
    return walk.known[value]


def _ints(node: ir.Node, name: str) -> Sequence[int]:
    return [int(number) for number in node.attributes[name].as_ints()]


def _sparsify(dtype: ir.DataType) -> Rule:
    def rule(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
        elements, ratio = _of(walk, node, 0).elements, node.inputs[1]
        kept = kept_count(elements, float(walk.known[ratio][0])) if ratio in walk.known else elements
        return [TensorSize(dtype, (kept,)), places(elements, kept)]

    return rule


def _narrow(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    elements, ratio = int(np.prod(_known(walk, node, 2))), node.inputs[3]
    whole = _of(walk, node, 0)
    kept = kept_count(elements, float(walk.known[ratio][0])) if ratio in walk.known else whole.elements
    return [TensorSize(whole.dtype, (kept,)), places(elements, kept)]


def _pair(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    elements = _of(walk, node, 0).elements
    ratios = [walk.known[ratio] for ratio in node.inputs[1:3] if ratio in walk.known]
    kept = [kept_count(elements, float(ratio[0])) for ratio in ratios] or [elements, elements]
    union = united(elements, *kept)
    values = TensorSize(ir.DataType.FLOAT, (union,))
    return [values, places(elements, union), TensorSize(ir.DataType.INT64, (6,))]


def united(elements: int, norm: int, conv: int) -> int:
    """How many of `elements`, symmetric about zero, are kept for BatchNorm, by magnitude, or behind its Relu.

    The larger part of the positive ones, of the negative ones half of what BatchNorm keeps and, where the convolution
    keeps more than is positive, as many others.
    """
    half = elements / 2
    others = max(0.0, conv - half)
    return int(max(min(conv, half), norm / 2) + norm / 2 + others - others * norm / elements)


def _selected(ratio: int) -> Rule:
    """What of a pair is that of the layer whose prune ratio is input `ratio` of the pair."""

    def rule(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
        elements, whole = int(np.prod(_known(walk, node, 2))), _of(walk, node, 0)
        pair = node.inputs[1].producer() if node.inputs[1] is not None else None
        fed = pair.inputs[ratio] if pair is not None else None
        known = walk.known.get(fed) if fed is not None else None
        kept = whole.elements if known is None else kept_count(elements, float(known[0]))
        return [TensorSize(whole.dtype, (kept,)), places(elements, kept)]

    return rule


def _restored(dtype: ir.DataType, index: int) -> Rule:
    """An operator whose output has the shape that its input `index` says."""

    def rule(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
        return [TensorSize(dtype, tuple(int(dim) for dim in _known(walk, node, index)))]

    return rule


def _like(*indices: int) -> Rule:
    """An operator whose outputs are as its inputs `indices`."""
    return lambda walk, node: [_of(walk, node, index) for index in indices]


def _packed(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    return [bits(_of(walk, node, 0).elements)]


def _packed_values(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    return [TensorSize(ir.DataType.UINT8, (-(-PACKED_BITS * _of(walk, node, 0).elements // 8) + 1,))]


def _unpacked_values(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    return [TensorSize(ir.DataType.FLOAT, ((_of(walk, node, 0).elements - 1) * 8 // PACKED_BITS,))]


def _with_bits(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    return [_of(walk, node, 0), bits(_of(walk, node, 0).elements)]


def _gathered(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    bits = node.inputs[1].producer() if node.inputs[1] is not None else None
    density = DENSITY.get(bits.op_type, 0.5) if bits is not None else 0.5
    return [TensorSize(ir.DataType.FLOAT, (int(_of(walk, node, 0).elements * density),))]


def _moments(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    return [TensorSize(ir.DataType.FLOAT, (_of(walk, node, 0).shape[1],))] * 2


def _pooled(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    shape, kernel, strides = _of(walk, node, 0).shape, _ints(node, "kernel_shape"), _ints(node, "strides")
    pads = _ints(node, "pads")
    padded = [shape[axis + 2] + pads[axis] + pads[axis + 2] for axis in (0, 1)]
    sides = [(padded[axis] - kernel[axis]) // strides[axis] + 1 for axis in (0, 1)]
    pooled = TensorSize(ir.DataType.FLOAT, (*shape[:2], *sides))
    codes = -(-pooled.elements // 2) if kernel[0] * kernel[1] <= 15 else pooled.elements
    return [pooled, TensorSize(ir.DataType.UINT8, (codes,))]


def _weight(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    begin, end = _ints(node, "out_channels")
    channels = int(_known(walk, node, 3)[1])
    return [TensorSize(ir.DataType.FLOAT, (end - begin, channels, *_ints(node, "kernel_shape")))]


OWN_RULES: Mapping[str, Rule] = {
    "Sparsify": _sparsify(ir.DataType.FLOAT),
    "SparsifyHalf": _sparsify(ir.DataType.FLOAT16),
    "Narrow": _narrow,
    "SparsifyPair": _pair,
    "SelectNorm": _selected(1),
    "SelectConv": _selected(2),
    "PackValues": _packed_values,
    "UnpackValues": _unpacked_values,
    "Densify": _restored(ir.DataType.FLOAT, 2),
    "PackMask": _packed,
    "UnpackMask": _restored(ir.DataType.BOOL, 1),
    "ApplyMask": _like(0),
    "GatherMasked": _gathered,
    "AddMasked": _like(0),
    "AddStrided": _like(0),
    "ScatterMasked": _restored(ir.DataType.FLOAT, 2),
    "ConvWeightGradient": _weight,
    "ChannelMoments": _moments,
    "BatchNormalize": _like(0),
    "BatchNormalizeRelu": _with_bits,
    "ReluPack": _with_bits,
    "AddInto": _like(0),
    "Copy": _like(0),
    "BatchNormGradient": _like(0, 3, 3),
    "MaxPool": _pooled,
    "MaxPoolGradient": _restored(ir.DataType.FLOAT, 2),
    "AdamUpdate": _like(0, 1, 2),
    "MomentumUpdate": _like(0, 1),
}
