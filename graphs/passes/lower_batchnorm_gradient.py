from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerBatchNormGradient(Replacement):
    """The gradient of BatchNorm, which reads the centred activation c = x - mean, in standard operators.

    With s = 1 / sqrt(var + eps) and n elements a channel: d_scale = s sum(dy c), d_bias = sum(dy) and
    dx = scale s (dy - sum(dy) / n - c s^2 sum(dy c) / n), which is one affine map of dy and one of c.
    Source: Ioffe and Szegedy (ICML 2015) section 3.
    """

    operators: ClassVar = ("BatchNormalizationGrad",)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, centered, scale, zeros, inverse = node.inputs
        assert scale is not None and scale.shape is not None and centered is not None and centered.shape is not None
        planes = range(2, len(centered.shape))
        pixels, column = np.array([0, *planes]), np.array([1, -1, *[1 for _ in planes]])
        channels = int(scale.shape.numpy()[0])
        sum_gradient = build.op("ReduceSum", gradient, pixels, keepdims=0)
        sum_product = build.op("ReduceSum", build.op("Mul", gradient, centered), pixels, keepdims=0)
        scale_gradient = build.op("Mul", sum_product, inverse)
        size = build.op("Cast", build.op("Size", gradient), to=int(ir.DataType.FLOAT))
        count = build.op("Div", size, float(channels))
        slope = build.op("Mul", scale, inverse)
        shift = build.op("Neg", build.op("Div", build.op("Mul", slope, sum_gradient), count))
        correlation = build.op("Div", build.op("Mul", scale_gradient, inverse), count)
        pull = build.op("Neg", build.op("Mul", slope, correlation))
        ones = build.op("Exp", zeros)
        moved = build.op("BatchNormalization", gradient, slope, shift, zeros, ones, epsilon=0.0)
        pulled = build.op("Mul", centered, build.op("Reshape", pull, column))
        input_gradient = build.op("Add", moved, pulled)
        return [input_gradient, scale_gradient, sum_gradient]
