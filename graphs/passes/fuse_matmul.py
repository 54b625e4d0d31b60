from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder, produced_by
from graphs.passes.rewrite import Replacement

CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators, which every build of it for processors has."""


@dataclass(frozen=True)
class FuseMatMul(Replacement):
    """A product with a transposed weight reads the weight as it is."""

    operators: ClassVar = ("MatMul",)

    def applies(self, node: ir.Node) -> bool:
        transpose = produced_by(node.inputs[0], "Transpose")
        return transpose is not None and tuple(transpose.attributes["perm"].as_ints()) == (1, 0)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        transpose = produced_by(node.inputs[0], "Transpose")
        assert transpose is not None
        return build.ops("FusedMatMul", 1, transpose.inputs[0], node.inputs[1], domain=CONTRIB, transA=1)
