from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import EARLY, Builder, produced_by
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class KeepSigns(Replacement):
    """The gradient of Abs reads two flags per element, above zero and below, instead of a sign in float32."""

    operators: ClassVar = ("Mul",)

    def applies(self, node: ir.Node) -> bool:
        return produced_by(node.inputs[1], "Sign") is not None

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        sign, spread = produced_by(node.inputs[1], "Sign"), produced_by(node.inputs[0], "Expand")
        assert sign is not None and sign.inputs[0] is not None
        gradient = node.inputs[0] if spread is None else spread.inputs[0]  # a mean's is one number
        early = build.marked(EARLY)
        above, below = (early.op(compare, sign.inputs[0], 0.0) for compare in ("Greater", "Less"))
        for flags in (above, below):
            flags.shape, flags.type = sign.inputs[0].shape, ir.TensorType(ir.DataType.BOOL)
        return [build.op("Where", above, gradient, build.op("Where", below, build.op("Neg", gradient), 0.0))]
