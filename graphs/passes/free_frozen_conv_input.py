from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder
from graphs.conv import ConvGeometry
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class FreeFrozenConvInput(Replacement):
    """The gradient of a convolution whose weight is frozen does not read the convolution's input."""

    operators: ClassVar = ("ConvGrad",)

    def applies(self, node: ir.Node) -> bool:
        return not (len(node.outputs) > 1 and node.outputs[1].uses())

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        return [ConvGeometry.of(node).input_gradient(build, node.inputs[0], node.inputs[2])]
