"""What the kernels of `graphs.kernels` need while they run, about: on one thread, with vectors of 16 lanes."""

import math
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from graphs.tensor_size import Sizes, TensorSize, bits

LANE_BYTES = 64
SUMS_BYTES, GRADIENT_BYTES, DENSE_BYTES = 1 << 20, 80 << 10, 2 << 20
MOST_GROUPS, LISTED, LISTED_BYTES, TILE = 8, 1 << 15, 6, 320
FILLERS = 8
"""As in conv_weight_gradient_plan.c and conv_weight_gradient_dense.c; TILE: the pixels of a tile, about."""


def kernel_scratch(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    rule = _RULES.get(node.op_type)
    return rule(node, sizes) if rule is not None else ()


def dense_scratch(node: ir.Node, sizes: Sizes) -> TensorSize:
    """Of ConvWeightGradient that multiplies dense matrices: as many rows or images as DENSE_BYTES hold."""
    batch, _, height, _ = _gradient(node, sizes).shape
    images, rows = 1, height
    while rows > 1 and _matrices(node, sizes, 1, rows) > DENSE_BYTES:
        rows -= 1
    while rows == height and images < batch and _matrices(node, sizes, images + 1, rows) <= DENSE_BYTES:
        images += 1
    return _buffer(_matrices(node, sizes, images, rows))


def _matrices(node: ir.Node, sizes: Sizes, images: int, rows: int) -> int:
    outputs, channels, *kernel = sizes[node.outputs[0]].shape
    width, (stride, across) = _gradient(node, sizes).shape[3], _strides(node)
    restored = ((rows - 1) * stride + kernel[0]) * width * across
    return 4 * ((outputs + channels * math.prod(kernel)) * images * rows * width + FILLERS * restored)


def _sparse_scratch(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """Of ConvWeightGradient: its activation's bitmap, sums for each group of images, a task's gradient and lists."""
    batch, _, height, width = _gradient(node, sizes).shape
    outputs, channels, *kernel = sizes[node.outputs[0]].shape
    area = math.prod(_strides(node))
    vectors = -(-outputs // 16)
    sums = vectors * LANE_BYTES * channels * math.prod(kernel)
    groups = max(1, min(SUMS_BYTES // sums, MOST_GROUPS, batch))
    pixels = min(TILE, -(-batch // groups) * height * width)
    lists = min(LISTED, channels * pixels * area) * LISTED_BYTES
    task = min(sums, SUMS_BYTES) * (groups == 1) + min(vectors * LANE_BYTES * pixels, GRADIENT_BYTES) + lists
    elements = batch * channels * height * width * area
    return [bits(elements), _buffer(groups * sums * (groups > 1)), _buffer(task)]


def _bitmap(node: ir.Node, sizes: Sizes) -> Sequence[TensorSize]:
    """A bit for each element of the first input."""
    return [bits(_gradient(node, sizes).elements)]


def _gradient(node: ir.Node, sizes: Sizes) -> TensorSize:
    value = node.inputs[0]
    assert value is not None
    return sizes[value]


def _strides(node: ir.Node) -> Sequence[int]:
    return [int(stride) for stride in node.attributes["strides"].as_ints()]


def _buffer(size: int) -> TensorSize:
    return TensorSize(ir.DataType.UINT8, (size,))


_RULES: Mapping[str, Callable[[ir.Node, Sizes], Sequence[TensorSize]]] = {
    "Sparsify": _bitmap,
    "SparsifyHalf": _bitmap,
    "SparsifyPair": _bitmap,
    "BatchNormGradient": _bitmap,
    "ConvWeightGradient": _sparse_scratch,
}
