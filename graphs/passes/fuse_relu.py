from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, produced_by, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class FuseRelu(Rewrite):
    """BatchNorm and the Relu behind it pass over their tensor once, and so do their gradients."""

    def rewrite(self, graph: ir.Graph) -> bool:
        forward = [node for node in nodes_of(graph, "ReluPack") if _is_alone(node, "BatchNormalize")]
        backward = [node for node in nodes_of(graph, "BatchNormGradient") if _is_alone(node, "ApplyMask")]
        for relu in forward:
            _fuse_forward(graph, relu)
        for gradient in backward:
            _fuse_backward(gradient)
        return bool(forward or backward)


def _is_alone(node: ir.Node, before: str) -> bool:
    """Whether `node` is all that reads the result of an operator `before`."""
    source = node.inputs[0]
    return produced_by(source, before) is not None and source is not None and len(source.uses()) == 1


def _fuse_forward(graph: ir.Graph, relu: ir.Node) -> None:
    normalize = produced_by(relu.inputs[0], "BatchNormalize")
    assert normalize is not None
    build = Builder(graph)
    outputs = build.own("BatchNormalizeRelu", 2, *normalize.inputs)
    build.before(relu)
    replace(relu, list(outputs))
    graph.remove(normalize, safe=True)


def _fuse_backward(gradient: ir.Node) -> None:
    mask = produced_by(gradient.inputs[0], "ApplyMask")
    assert mask is not None and mask.graph is not None
    gradient.resize_inputs(6)
    gradient.replace_input_with(5, mask.inputs[1])
    gradient.replace_input_with(0, mask.inputs[0])
    mask.graph.remove(mask, safe=True)
