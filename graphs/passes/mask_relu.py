from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import EARLY, Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class MaskRelu(Replacement):
    """The gradient of Relu reads one flag per element instead of its output."""

    operators: ClassVar = ("ReluGrad",)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, output = node.inputs
        positive = build.marked(EARLY).op("Greater", output, 0.0)
        positive.type = ir.TensorType(ir.DataType.BOOL)
        return [build.op("Where", positive, gradient, 0.0)]
