from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import LATE, Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class LowerFusedMatMul(Rewrite):
    """A product of transposed matrices is Transpose and MatMul."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "FusedMatMul") if not _flag(node, "transBatchA", "transBatchB")]
        for node in found:
            turn, build = Builder(graph, LATE), Builder(graph)  # what waited for the product waits as it is
            left = _turned(turn, node.inputs[0], _flag(node, "transA"))
            right = _turned(turn, node.inputs[1], _flag(node, "transB"))
            product = build.op("MatMul", left, right)
            factor = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
            result = product if factor == 1.0 else build.op("Mul", product, factor)
            turn.before(node)
            build.before(node)
            replace(node, [result])
        return bool(found)


def _flag(node: ir.Node, *names: str) -> bool:
    return any(name in node.attributes and node.attributes[name].as_int() for name in names)


def _turned(build: Builder, value: ir.Value | None, wanted: bool) -> ir.Value | None:
    """With the last two axes exchanged, if wanted; a vector stays as it is."""
    assert value is not None and value.shape is not None, f"the rank of {value} is unknown"
    rank = len(value.shape)
    if not wanted or rank < 2:
        return value
    return build.op("Transpose", value, perm=(*range(rank - 2), rank - 1, rank - 2))
