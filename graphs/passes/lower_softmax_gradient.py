from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import LATE, Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerSoftmaxGradient(Replacement):
    """The gradients of Softmax, y (dy - sum(dy y)), and LogSoftmax, dy - exp(y) sum(dy), in standard operators."""

    operators: ClassVar = ("SoftmaxGrad_13", "LogSoftmaxGrad_13")

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        gradient, output = node.inputs
        axis = np.array([node.attributes["axis"].as_int()])
        if node.op_type == "SoftmaxGrad_13":
            total = build.op("ReduceSum", build.op("Mul", gradient, output), axis)
            return [build.op("Mul", output, build.op("Sub", gradient, total))]
        total = build.op("ReduceSum", gradient, axis)
        probability = build.marked(LATE).op("Exp", output)
        return [build.op("Sub", gradient, build.op("Mul", probability, total))]
