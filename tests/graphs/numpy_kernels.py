"""The operators of graphs.kernels in numpy, and a machine that runs a fused graph node by node with them.

Operators that work in place do so here too: a graph in a wrong order gives wrong numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from graphs.build import OWN_DOMAIN
from graphs.tensor_size import kept_count
from tests.graphs.numpy_optimizers import adam_update, momentum_update

Array = np.ndarray
Attributes = Mapping[str, Any]


def run(graph: ir.Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every graph output by name. What the graph overwrites in place is overwritten in `feeds`."""
    values: dict[str, Array] = dict(feeds)
    for name, value in graph.initializers.items():
        assert value.const_value is not None
        values[name] = value.const_value.numpy()
    for node in graph:
        inputs = [None if value is None else values[str(value.name)] for value in node.inputs]
        for value, result in zip(node.outputs, _results(node, inputs), strict=False):
            values[str(value.name)] = result
    return {str(value.name): values[str(value.name)] for value in graph.outputs}


def _results(node: ir.Node, inputs: list[Array | None]) -> tuple[Array, ...]:
    if node.domain == OWN_DOMAIN:
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        found = OPERATORS[node.op_type](attributes, *inputs)
        return found if isinstance(found, tuple) else (found,)
    if node.op_type == "Reshape":
        return (_reshape(*inputs),)  # type: ignore[arg-type]
    if node.op_type == "FusedMatMul":
        return (np.matmul(inputs[0].T, inputs[1]),)  # type: ignore[union-attr,arg-type]
    feeds = {str(value.name): array for value, array in zip(node.inputs, inputs, strict=True) if value is not None}
    return tuple(np.array(found) for found in ReferenceEvaluator(ir.to_proto(node)).run(None, feeds))


def _reshape(array: Array, shape: Array) -> Array:
    lengths = [array.shape[axis] if length == 0 else int(length) for axis, length in enumerate(shape)]
    return array.reshape(lengths)


def pack(flags: Array) -> Array:
    return np.packbits(flags.reshape(-1), bitorder="little")


def unpack(bits: Array, shape: Any) -> Array:
    count = int(np.prod(shape))
    return np.unpackbits(bits, count=count, bitorder="little").astype(bool).reshape(tuple(int(dim) for dim in shape))


def column(vector: Array, like: Array) -> Array:
    return vector.reshape(1, -1, *[1] * (like.ndim - 2))


def largest(array: Array, count: int) -> Array:
    """Flags of the `count` elements of largest magnitude, ties first in order."""
    order = np.argsort(-np.abs(array.reshape(-1)), kind="stable")[:count]
    flags = np.zeros(array.size, bool)
    flags[order] = True
    return flags.reshape(array.shape)


def sparsify(_: Attributes, dense: Array, ratio: Array, center: Array | None = None) -> tuple[Array, Array]:
    shifted = dense if center is None else dense - column(center, dense)
    flags = largest(shifted, kept_count(dense.size, float(ratio[0])))
    return shifted[flags], pack(flags)


def pack_values(_: Attributes, values: Array) -> Array:
    """See pack_values.c."""
    magnitudes = values.view(np.uint32) & 0x7FFFFFFF
    top = int(magnitudes.max(initial=0)) >> 23
    below, sign = top - (magnitudes >> 23), values.view(np.uint32) >> 31 << 23
    code = sign | np.where(below < 15, magnitudes & 0x7FFFFF, (magnitudes + 0x80) >> 8)
    nibbles = np.zeros(values.size + values.size % 2, np.uint8)
    nibbles[: values.size] = np.minimum(below, 15)
    low, high = (code & 0xFFFF).astype(np.uint16), (code >> 16).astype(np.uint8)
    return np.concatenate([low.view(np.uint8), high, nibbles[::2] | nibbles[1::2] << 4, np.array([top], np.uint8)])


def unpack_values(_: Attributes, packed: Array) -> Array:
    count = (packed.size - 1) * 2 // 7
    low, high = packed[: 2 * count].view(np.uint16), packed[2 * count : 3 * count]
    pairs, top = packed[3 * count : -1], int(packed[-1])
    below = np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:count].astype(np.uint32)
    code = low | high.astype(np.uint32) << 16
    rest = code & 0x7FFFFF
    magnitude = np.where(below < 15, (np.uint32(top) - below) << 23 | rest, rest << 8)
    bits: Array = (magnitude | code >> 23 << 31).astype(np.uint32)
    return bits.view(np.float32)


def _bounds(magnitudes: Array, count: int) -> tuple[int, int]:
    """The bits of the smallest kept magnitude, and the place of the last kept element equal to it."""
    if count == 0:
        return 0x7FFFFFFF, -1
    flags = largest(magnitudes, count).reshape(-1)
    smallest = magnitudes.reshape(-1)[flags].min()
    equal = np.flatnonzero(flags & (magnitudes.reshape(-1) == smallest))
    return int(np.float32(smallest).view(np.int32)), int(equal[-1])


def _members(magnitudes: Array, bits: int, last: int) -> Array:
    smallest, flat = np.int32(bits).view(np.float32), magnitudes.reshape(-1)
    flags = (flat > smallest) | ((flat == smallest) & (np.arange(flat.size) <= last))
    return np.asarray(flags.reshape(magnitudes.shape))


def sparsify_pair(
    _: Attributes, z: Array, for_norm: Array, for_conv: Array, mean: Array, slope: Array, bias: Array
) -> tuple[Array, Array, Array]:
    centered = z - column(mean, z)
    rectified = np.maximum(0, centered * column(slope, z) + column(bias, z))
    counts = [kept_count(z.size, float(ratio[0])) for ratio in (for_norm, for_conv)]
    bounds = [_bounds(array, count) for array, count in zip((np.abs(centered), rectified), counts, strict=True)]
    flags = _members(np.abs(centered), *bounds[0]) | _members(rectified, *bounds[1])
    return centered[flags], pack(flags), np.array([*bounds[0], *bounds[1], *counts])


def _selected(dense: Array, magnitudes: Array, held: Array, bits: Any, last: Any) -> tuple[Array, Array]:
    flags = held & _members(magnitudes, int(bits), int(last))
    return np.asarray(dense[flags]), pack(flags)


def select_norm(_: Attributes, values: Array, places: Array, shape: Array, bounds: Array) -> tuple[Array, Array]:
    centered = densify({}, values, places, shape)
    return _selected(centered, np.abs(centered), unpack(places, shape), *bounds[:2])


def select_conv(
    _: Attributes, values: Array, places: Array, shape: Array, bounds: Array, slope: Array, bias: Array
) -> tuple[Array, Array]:
    centered = densify({}, values, places, shape)
    rectified = np.maximum(0, centered * column(slope, centered) + column(bias, centered))
    return _selected(rectified, rectified, unpack(places, shape), *bounds[2:4])


def sparsify_half(_: Attributes, *inputs: Array) -> tuple[Array, Array]:
    values, places = sparsify({}, *inputs)
    return values.clip(-65504, 65504).astype(np.float16), places


def densify(_: Attributes, values: Array, places: Array, shape: Array) -> Array:
    dense = np.zeros(tuple(int(dim) for dim in shape), np.float32)
    dense[unpack(places, shape)] = values
    return dense


def narrow(_: Attributes, values: Array, places: Array, shape: Array, ratio: Array) -> tuple[Array, Array]:
    flags = unpack(places, shape)
    chosen = largest(values, kept_count(int(np.prod(shape)), float(ratio[0])))
    narrowed = np.zeros_like(flags)
    narrowed[flags] = chosen
    return values[chosen], pack(narrowed)


def relu_pack(_: Attributes, x: Array) -> tuple[Array, Array]:
    np.maximum(x, 0, out=x)
    return x, pack(x > 0)


def apply_mask(_: Attributes, x: Array, bits: Array) -> Array:
    x[~unpack(bits, x.shape)] = 0
    return x


def gather_masked(_: Attributes, x: Array, bits: Array) -> Array:
    return np.asarray(x[unpack(bits, x.shape)])


def add_masked(_: Attributes, x: Array, values: Array, bits: Array) -> Array:
    x[unpack(bits, x.shape)] += values
    return x


def channel_moments(_: Attributes, x: Array) -> tuple[Array, Array]:
    axes = (0, *range(2, x.ndim))
    return x.mean(axes, np.float64).astype(np.float32), x.var(axes, np.float64).astype(np.float32)


def normalize(_: Attributes, x: Array, scale: Array, bias: Array, mean: Array, inverse: Array) -> Array:
    x[...] = (x - column(mean, x)) * column(scale * inverse, x) + column(bias, x)
    return x


def normalize_relu(_: Attributes, *inputs: Array) -> tuple[Array, Array]:
    return relu_pack({}, normalize({}, *inputs))


def batchnorm_gradient(
    _: Attributes, dy: Array, values: Array, places: Array, scale: Array, inverse: Array, bits: Array | None = None
) -> tuple[Array, Array, Array]:
    if bits is not None:
        apply_mask({}, dy, bits)
    centered = densify({}, values, places, np.array(dy.shape))
    axes, count = (0, *range(2, dy.ndim)), dy.size // dy.shape[1]
    dbias, dscale = dy.sum(axes), inverse * (dy * centered).sum(axes)
    pull = centered * column(inverse * dscale, dy)
    dy[...] = column(scale * inverse, dy) * (dy - column(dbias, dy) / count - pull / count)
    return dy, dscale, dbias


def _windows(x: Array, attributes: Attributes, fill: float) -> Array:
    """[N, C, out height, out width, kernel height, kernel width], a view where nothing is padded."""
    top, left, bottom, right = attributes["pads"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(attributes["kernel_shape"]), axis=(2, 3))
    return windows[:, :, :: attributes["strides"][0], :: attributes["strides"][1]]


def max_pool(attributes: Attributes, x: Array) -> tuple[Array, Array]:
    windows = _windows(x, attributes, -np.inf)
    flat = windows.reshape(*windows.shape[:4], -1)
    codes, best = flat.argmax(-1).astype(np.uint8), flat.max(-1)
    return best, np.where(best > 0, codes, 255).astype(np.uint8) if attributes["rectified"] else codes


def max_pool_gradient(attributes: Attributes, dy: Array, codes: Array, shape: Array) -> Array:
    count, channels, height, width = (int(dim) for dim in shape)
    top, left, bottom, right = attributes["pads"]
    dx = np.zeros((count, channels, height + top + bottom, width + left + right), np.float32)
    for n, c, i, j in np.ndindex(*dy.shape):
        if codes[n, c, i, j] != 255:
            row, place = divmod(int(codes[n, c, i, j]), attributes["kernel_shape"][1])
            dx[n, c, i * attributes["strides"][0] + row, j * attributes["strides"][1] + place] += dy[n, c, i, j]
    return dx[:, :, top : top + height, left : left + width]


def conv_weight_gradient(attributes: Attributes, dy: Array, values: Array, places: Array, shape: Array) -> Array:
    windows = _windows(densify({}, values, places, shape), attributes, 0.0)
    begin, end = attributes["out_channels"]
    return np.asarray(np.einsum("nohw,nchwij->ocij", dy[:, begin:end], windows, optimize=True), np.float32)


def add_strided(attributes: Attributes, x: Array, small: Array) -> Array:
    x[:, :, :: attributes["strides"][0], :: attributes["strides"][1]] += small
    return x


def add_into(_: Attributes, a: Array, b: Array) -> Array:
    a += b
    return a


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Sparsify": sparsify,
    "SparsifyHalf": sparsify_half,
    "Densify": densify,
    "Narrow": narrow,
    "SparsifyPair": sparsify_pair,
    "SelectNorm": select_norm,
    "SelectConv": select_conv,
    "PackValues": pack_values,
    "UnpackValues": unpack_values,
    "ReluPack": relu_pack,
    "ApplyMask": apply_mask,
    "GatherMasked": gather_masked,
    "AddMasked": add_masked,
    "ScatterMasked": densify,
    "ChannelMoments": channel_moments,
    "BatchNormalize": normalize,
    "BatchNormalizeRelu": normalize_relu,
    "BatchNormGradient": batchnorm_gradient,
    "MaxPool": max_pool,
    "MaxPoolGradient": max_pool_gradient,
    "ConvWeightGradient": conv_weight_gradient,
    "AddStrided": add_strided,
    "AddInto": add_into,
    "AdamUpdate": adam_update,
    "MomentumUpdate": momentum_update,
    "Copy": lambda _, x: x.copy(),
    "PackMask": lambda _, flags: pack(flags),
    "UnpackMask": lambda _, bits, shape: unpack(bits, shape),
}
