from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, produced_by, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class KeepReluBits(Rewrite):
    """Relu works in place and leaves one bit per element, which is all that its gradient reads."""

    def rewrite(self, graph: ir.Graph) -> bool:
        gradients: dict[ir.Node, list[ir.Node]] = {}
        for gradient in nodes_of(graph, "ReluGrad"):
            gradients.setdefault(_forward(gradient), []).append(gradient)
        for relu, found in gradients.items():
            _rewrite_one(graph, relu, found)
        return bool(gradients)


def _rewrite_one(graph: ir.Graph, relu: ir.Node, gradients: list[ir.Node]) -> None:
    forward = Builder(graph)
    rectified, bits = forward.own("ReluPack", 2, relu.inputs[0])
    forward.before(relu)
    for gradient in gradients:
        backward = Builder(graph)
        (masked,) = backward.own("ApplyMask", 1, gradient.inputs[0], bits)
        backward.before(gradient)
        replace(gradient, [masked])
    replace(relu, [rectified])


def _forward(gradient: ir.Node) -> ir.Node:
    """The Relu of a ReluGrad, which reads its output or, as the signs are the same, its input."""
    read = gradient.inputs[1]
    assert read is not None
    candidates = [produced_by(read, "Relu"), *(node for node in read.consumers() if node.op_type == "Relu")]
    return next(node for node in candidates if node is not None)
