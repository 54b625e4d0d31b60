from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphs.build import Builder, produced_by
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class FuseBatchNormGradient(Replacement):
    """The gradient of BatchNorm reads the kept values of its centred input and never the dense tensor."""

    operators: ClassVar = ("BatchNormalizationGrad",)

    def applies(self, node: ir.Node) -> bool:
        return produced_by(node.inputs[1], "Densify") is not None

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, activation, scale, _, inverse = node.inputs
        densify = produced_by(activation, "Densify")
        assert densify is not None
        values, places = densify.inputs[:2]
        return build.own("BatchNormGradient", 3, gradient, values, places, scale, inverse)
