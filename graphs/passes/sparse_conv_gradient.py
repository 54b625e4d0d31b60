from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder, produced_by
from graphs.conv import ConvGeometry, bias_gradient
from graphs.passes.rewrite import Replacement

PIECE = 256 * 1024
"""Elements of a weight's gradient that are computed at once; the next piece follows when these are used up."""

ROUND = 16
"""Output channels that a kernel computes together."""


@dataclass(frozen=True)
class SparseConvGradient(Replacement):
    """The weight gradient of a convolution follows from the kept values and never from a dense activation.

    That of a large weight comes in pieces along its output channels, joined by a Concat that the optimizer looks
    through, and behind the input's gradient: then each piece is used up before the next one is made.
    """

    operators: ClassVar = ("ConvGrad",)

    def applies(self, node: ir.Node) -> bool:
        if produced_by(node.inputs[1], "Densify") is None or not node.outputs[1].uses():
            return False
        geometry = ConvGeometry.of(node)
        return geometry.groups == 1 and geometry.dilations == (1, 1)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, _, weight = node.inputs[:3]
        geometry = ConvGeometry.of(node)
        ranges = list(_ranges(geometry))
        wanted = [bool(output.name and output.uses()) for output in node.outputs] + [False]
        of_bias = bias_gradient(build, node)
        late = (
            Builder(build.graph) if len(ranges) > 1 else build
        )  # the update of a piece waits for who reads the weight
        weight_gradient = _weight_gradient(late, geometry, node, ranges)
        input_gradient = geometry.input_gradient(build, gradient, weight) if wanted[0] else None
        if late is not build:
            build.nodes += late.nodes
        return [input_gradient, weight_gradient, of_bias]


def _weight_gradient(
    build: Builder, geometry: ConvGeometry, node: ir.Node, ranges: Sequence[tuple[int, int]]
) -> ir.Value:
    gradient, densify = node.inputs[0], produced_by(node.inputs[1], "Densify")
    assert densify is not None
    facts = {"kernel_shape": geometry.kernel, "strides": geometry.strides, "pads": geometry.pads}
    pieces = []
    for begin, end in ranges:
        (piece,) = build.own("ConvWeightGradient", 1, gradient, *densify.inputs, **facts, out_channels=(begin, end))
        piece.shape, piece.type = (
            ir.Shape((end - begin, geometry.in_channels, *geometry.kernel)),
            ir.TensorType(ir.DataType.FLOAT),
        )
        pieces.append(piece)
    return build.op("Concat", *pieces, axis=0) if len(pieces) > 1 else pieces[0]


def _ranges(geometry: ConvGeometry) -> Iterator[tuple[int, int]]:
    each = geometry.in_channels * geometry.kernel[0] * geometry.kernel[1]
    step = max(ROUND, PIECE // each // ROUND * ROUND)
    for begin in range(0, geometry.out_channels, step):
        yield begin, min(begin + step, geometry.out_channels)
