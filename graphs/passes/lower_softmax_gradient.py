from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import LATE, Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class LowerSoftmaxGradient(Rewrite):
    """The gradients of Softmax, y (dy - sum(dy y)), and LogSoftmax, dy - exp(y) sum(dy), in standard operators."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "SoftmaxGrad_13", "LogSoftmaxGrad_13")
        for node in found:
            gradient, output = node.inputs
            axis = np.array([node.attributes["axis"].as_int()])
            restore, build = Builder(graph, LATE), Builder(graph)
            if node.op_type == "SoftmaxGrad_13":
                total = build.op("ReduceSum", build.op("Mul", gradient, output), axis)
                result = build.op("Mul", output, build.op("Sub", gradient, total))
            else:
                total = build.op("ReduceSum", gradient, axis)
                result = build.op("Sub", gradient, build.op("Mul", restore.op("Exp", output), total))
            restore.before(node)
            build.before(node)
            replace(node, [result])
        return bool(found)
