from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class MeasureBatches(Replacement):
    """BatchNorm in training mode is the differentiating engine's, which gives the batch's statistics, too."""

    operators: ClassVar = ("BatchNormalization",)

    def applies(self, node: ir.Node) -> bool:
        return "training_mode" in node.attributes and bool(node.attributes["training_mode"].as_int())

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        return build.ops("BatchNormInternal", 5, *node.inputs, domain="com.microsoft", epsilon=epsilon)
