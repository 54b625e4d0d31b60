from dataclasses import dataclass
from math import pi, sqrt

import onnx_ir as ir

from graphs.build import LATE, Builder, Operand, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class LowerGelu(Rewrite):
    """GELU, x P(x) with the normal distribution P, and its gradient, dy (P(x) + x p(x)), in standard operators.

    Source: Hendrycks and Gimpel (2016) section 2.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "Gelu", "GeluGrad")
        for node in found:
            if node.op_type == "Gelu":
                build = Builder(graph)
                result = build.op("Mul", node.inputs[0], _distribution(build, node.inputs[0]))
            else:
                build = Builder(graph, LATE)
                result = build.op("Mul", node.inputs[0], _slope(build, node.inputs[1]))
            build.before(node)
            replace(node, [result])
        return bool(found)


def _slope(build: Builder, x: Operand) -> ir.Value:
    """P(x) + x p(x)."""
    density = build.op("Mul", build.op("Exp", build.op("Mul", build.op("Mul", x, x), -0.5)), 1 / sqrt(2 * pi))
    return build.op("Add", build.op("Mul", x, density), _distribution(build, x))


def _distribution(build: Builder, x: Operand) -> ir.Value:
    """P(x) = (1 + erf(x / sqrt(2))) / 2."""
    return build.op("Mul", build.op("Add", build.op("Erf", build.op("Div", x, sqrt(2))), 1.0), 0.5)
