from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import LATE, Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerFusedMatMul(Replacement):
    """A product of transposed matrices is Transpose and MatMul."""

    operators: ClassVar = ("FusedMatMul",)

    def applies(self, node: ir.Node) -> bool:
        return not _flag(node, "transBatchA", "transBatchB")

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        turn = build.marked(LATE)  # what waited for the product waits as it is
        left = _turned(turn, node.inputs[0], _flag(node, "transA"))
        right = _turned(turn, node.inputs[1], _flag(node, "transB"))
        product = build.op("MatMul", left, right)
        factor = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
        return [product if factor == 1.0 else build.op("Mul", product, factor)]


def _flag(node: ir.Node, *names: str) -> bool:
    return any(name in node.attributes and node.attributes[name].as_int() for name in names)


def _turned(build: Builder, value: ir.Value | None, wanted: bool) -> ir.Value | None:
    """With the last two axes exchanged, if wanted; a vector stays as it is."""
    assert value is not None and value.shape is not None, f"the rank of {value} is unknown"
    rank = len(value.shape)
    if not wanted or rank < 2:
        return value
    return build.op("Transpose", value, perm=(*range(rank - 2), rank - 1, rank - 2))
