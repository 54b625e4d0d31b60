from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import LATE, Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerLayerNormGradient(Replacement):
    """The gradient of LayerNorm, which reads the centred activation c = x - mean, in standard operators.

    With s = 1 / sqrt(var + eps), x^ = c s and g = scale dy: d_scale = sum(dy x^) and d_bias = sum(dy) over the rows,
    and dx = s (g - mean(g) - x^ mean(g x^)) along each row.
    Source: Ba, Kiros and Hinton (2016) section 3.
    """

    operators: ClassVar = ("LayerNormalizationGrad",)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, centered, scale, _, inverse = node.inputs
        row, others = _axes(node)
        standard = build.marked(LATE).op("Mul", centered, inverse)
        scale_gradient = build.op("ReduceSum", build.op("Mul", gradient, standard), others, keepdims=0)
        bias_gradient = build.op("ReduceSum", gradient, others, keepdims=0)
        scaled = build.op("Mul", gradient, scale)
        correlation = build.op("ReduceMean", build.op("Mul", scaled, standard), row)
        along = build.op("Mul", standard, correlation)
        rest = build.op("Sub", build.op("Sub", scaled, build.op("ReduceMean", scaled, row)), along)
        input_gradient = build.op("Mul", rest, inverse)
        return [input_gradient, scale_gradient, bias_gradient]


def _axes(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """The axes of a normalised row, counted from the end, and all others."""
    activation = node.inputs[1]
    assert activation is not None and activation.shape is not None, f"the rank of {activation} is unknown"
    rank = len(activation.shape)
    first = node.attributes["axis"].as_int() % rank
    return np.arange(first, rank), np.arange(first)
