from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Replacement

EPSILON = 1e-5
"""What the standard says where a node says nothing."""


@dataclass(frozen=True)
class LowerLayerNorm(Replacement):
    """No LayerNormalization: (x - mean) / sqrt(mean((x - mean)^2) + eps), times the scale, plus the bias.

    The names of scale and bias stay. Source: Ba, Kiros and Hinton (2016) equation 4.
    """

    operators: ClassVar = ("LayerNormalization",)

    def applies(self, node: ir.Node) -> bool:
        return len(node.outputs) == 1

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        activation, scale, bias = [*node.inputs, None][:3]
        row = np.arange(_first_axis(node), 0)
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else EPSILON
        centered = build.op("Sub", activation, build.op("ReduceMean", activation, row))
        variance = build.op("ReduceMean", build.op("Mul", centered, centered), row)
        standard = build.op("Div", centered, build.op("Sqrt", build.op("Add", variance, epsilon)))
        scaled = build.op("Mul", standard, scale)
        return [scaled if bias is None else build.op("Add", scaled, bias)]


def _first_axis(node: ir.Node) -> int:
    """Where a normalised row begins, counted from the end."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    activation = node.inputs[0]
    assert activation is not None and (axis < 0 or activation.shape is not None), f"the rank of {activation} is unknown"
    return axis if axis < 0 or activation.shape is None else axis - len(activation.shape)
