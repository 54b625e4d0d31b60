from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

import onnx_ir as ir

from graphs.build import LATE, Builder, Operand
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerGelu(Replacement):
    """GELU, x P(x) with the normal distribution P, and its gradient, dy (P(x) + x p(x)), in standard operators.

    Source: Hendrycks and Gimpel (2016) section 2.
    """

    operators: ClassVar = ("Gelu", "GeluGrad")

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        if node.op_type == "Gelu":
            return [build.op("Mul", node.inputs[0], _distribution(build, node.inputs[0]))]
        late = build.marked(LATE)
        return [late.op("Mul", node.inputs[0], _slope(late, node.inputs[1]))]


def _slope(build: Builder, x: Operand) -> ir.Value:
    """P(x) + x p(x)."""
    density = build.op("Mul", build.op("Exp", build.op("Mul", build.op("Mul", x, x), -0.5)), 1 / sqrt(2 * pi))
    return build.op("Add", build.op("Mul", x, density), _distribution(build, x))


def _distribution(build: Builder, x: Operand) -> ir.Value:
    """P(x) = (1 + erf(x / sqrt(2))) / 2."""
    return build.op("Mul", build.op("Add", build.op("Erf", build.op("Div", x, sqrt(2))), 1.0), 0.5)
