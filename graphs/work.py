"""What a graph asks of the machine that runs it: arithmetic, and traffic to and from memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from graphs.build import OWN_DOMAIN
from graphs.ops.aliases import VIEWS
from graphs.sizes import find_sizes
from graphs.tensor_size import Sizes, TensorSize

FREE = VIEWS | {"Constant", "Shape", "Size"}
"""Standard operators that move no tensor."""

POINTWISE = {"Add", "Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Relu", "Sigmoid"}
"""What inference engines compute inside of the operator before it."""

PIECEWISE = {"AdamUpdate": 3, "MomentumUpdate": 2}
"""Operators of our own that read and write of so many first inputs what the next one, a piece of a gradient, is for."""


@dataclass
class Work:
    """Of a node, or of several that run as one.

    flops: a multiplication and an addition are two. bytes: read and written.
    """

    operators: tuple[str, ...]
    flops: int
    bytes: int


def find_work(graph: ir.Graph, batch: int, ratios: Sequence[float] = (), float_bytes: int = 4) -> list[Work]:
    """The work of every node. ratios: see find_sizes. float_bytes: of a floating-point number in memory."""
    sizes = find_sizes(graph, batch, ratios)
    return [_work(node, sizes, float_bytes) for node in graph if _counts(node, sizes)]


def find_fused_work(graph: ir.Graph, batch: int, float_bytes: int = 4) -> list[Work]:
    """The same, with pointwise operators in the one before: what passes between them never reaches memory."""
    sizes = find_sizes(graph, batch)
    made: dict[ir.Value, Work] = {}
    found = []
    for node in graph:
        if not _counts(node, sizes):
            continue
        work, joined = _work(node, sizes, float_bytes), _inner(node, made)
        if joined is not None:
            before = made[joined]
            before.operators += work.operators
            before.flops += work.flops
            before.bytes += work.bytes - 2 * _bytes(sizes[joined], float_bytes)
            work = before
        else:
            found.append(work)
        made[node.outputs[0]] = work
    return found


def _inner(node: ir.Node, made: Mapping[ir.Value, Work]) -> ir.Value | None:
    """The input of a pointwise node that nobody else reads."""
    if node.op_type not in POINTWISE:
        return None
    inputs = [value for value in node.inputs if value is not None and value in made and len(value.uses()) == 1]
    return inputs[0] if inputs else None


def _counts(node: ir.Node, sizes: Sizes) -> bool:
    return not (node.domain == "" and node.op_type in FREE) and node.outputs[0] in sizes


def _work(node: ir.Node, sizes: Sizes, float_bytes: int) -> Work:
    values = _read_and_written(node, sizes)
    rule = (OWN_FLOPS if node.domain == OWN_DOMAIN else FLOPS).get(node.op_type)
    flops = rule(node, sizes) if rule is not None else max(size.elements for size in values)
    return Work((node.op_type,), flops, sum(_bytes(size, float_bytes) for size in values))


def _read_and_written(node: ir.Node, sizes: Sizes) -> list[TensorSize]:
    if node.op_type in PIECEWISE and node.domain == OWN_DOMAIN:
        state = PIECEWISE[node.op_type]
        return [_size(node, state, sizes)] * (2 * state + 1)
    return [sizes[value] for value in {*node.inputs, *node.outputs} if value is not None and value in sizes]


def _bytes(size: TensorSize, float_bytes: int) -> int:
    return size.elements * float_bytes if size.dtype == ir.DataType.FLOAT else size.bytes


def _size(node: ir.Node, index: int, sizes: Sizes) -> TensorSize:
    value = node.inputs[index]
    assert value is not None
    return sizes[value]


def _convolution(node: ir.Node, sizes: Sizes) -> int:
    """Each output is a sum over the input channels of its group and the kernel."""
    weight = _size(node, 1, sizes)
    return 2 * sizes[node.outputs[0]].elements * prod(weight.shape[1:])


def _transposed_convolution(node: ir.Node, sizes: Sizes) -> int:
    """Each input is spread over the output channels of its group and the kernel."""
    return 2 * _size(node, 0, sizes).elements * prod(_size(node, 1, sizes).shape[1:])


def _gemm(node: ir.Node, sizes: Sizes) -> int:
    output = sizes[node.outputs[0]]
    return 2 * _size(node, 0, sizes).elements * output.shape[1]


def _product(node: ir.Node, sizes: Sizes) -> int:
    turned = "transA" in node.attributes and node.attributes["transA"].as_int()
    inner = _size(node, 0, sizes).shape[-2 if turned else -1]
    return 2 * sizes[node.outputs[0]].elements * inner


def _weight_gradient(node: ir.Node, sizes: Sizes) -> int:
    """Each kept input meets every output channel and, strides apart, every place of the kernel."""
    channels, _, *kernel = sizes[node.outputs[0]].shape
    strides = prod(int(stride) for stride in node.attributes["strides"].as_ints())
    return 2 * _size(node, 1, sizes).elements * channels * prod(kernel) // strides


Rule = Callable[[ir.Node, Sizes], int]

FLOPS: Mapping[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _product,
    "FusedMatMul": _product,
}
"""Of standard operators; every other one is counted as one operation an element."""

OWN_FLOPS: Mapping[str, Rule] = {"ConvWeightGradient": _weight_gradient}
