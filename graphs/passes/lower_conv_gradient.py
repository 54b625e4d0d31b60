from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder
from graphs.conv import ConvGeometry, bias_gradient
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerConvGradient(Replacement):
    """The gradients of convolutions are matrix products and convolutions.

    The weight's comes first, so that the restored activation is gone before the input's is made.
    """

    operators: ClassVar = ("ConvGrad",)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, activation, weight = node.inputs[:3]
        geometry = ConvGeometry.of(node)
        wanted = [bool(output.name and output.uses()) for output in node.outputs] + [False]
        weight_gradient = geometry.weight_gradient(build, gradient, activation) if wanted[1] else None
        input_gradient = geometry.input_gradient(build, gradient, weight) if wanted[0] else None
        of_bias = bias_gradient(build, node)
        return [input_gradient, weight_gradient, of_bias]
