from dataclasses import dataclass
from math import sqrt

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of

ENGINE = "com.microsoft"


@dataclass(frozen=True)
class FuseGelu(Rewrite):
    """GELU, x (1 + erf(x / sqrt(2))) / 2, is one node, whose gradient reads x alone."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = {node: source for node in nodes_of(graph, "Mul") if (source := _gelu_input(node)) is not None}
        for node, source in found.items():
            build = Builder(graph)
            (fused,) = build.ops("Gelu", 1, source, domain=ENGINE)
            build.before(node)
            replace(node, [fused])
        if found:
            graph.opset_imports[ENGINE] = 1
        return bool(found)


def _gelu_input(product: ir.Node) -> ir.Value | None:
    """x, if `product` is the outermost product of GELU(x)."""
    for source, weight in (product.inputs, reversed(product.inputs)):
        erf = _without(_without(weight, "Mul", 0.5), "Add", 1.0)
        node = erf.producer() if erf is not None else None
        argument = node.inputs[0] if node is not None and node.op_type == "Erf" else None
        if source is not None and _without(argument, "Div", sqrt(2)) is source:
            return source
    return None


def _without(value: ir.Value | None, op_type: str, constant: float) -> ir.Value | None:
    """The other operand, if `value` is the `op_type` of it and that constant."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != op_type:
        return None
    for operand, other in (node.inputs, reversed(node.inputs)):
        if _is_constant(operand, constant):
            return other
    return None


def _is_constant(value: ir.Value | None, constant: float) -> bool:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor is not None and tensor.size == 1 and bool(np.isclose(tensor.numpy(), constant).all())
