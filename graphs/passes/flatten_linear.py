from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.settle_reshapes import settled_shape
from graphs.sizes import find_sizes

Shapes = dict[ir.Value, tuple[int, ...]]


@dataclass(frozen=True)
class FlattenLinear(Rewrite):
    """A linear layer on tensors of any rank is one Gemm over their rows, with the weight as PyTorch stores it.

    So its weight's gradient is one Gemm as well, and reads the rows as they are.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        few, many = ({v: s.shape for v, s in find_sizes(graph, batch).items()} for batch in (2, 3))
        return any([_flatten(graph, node, few, many) for node in nodes_of(graph, "MatMul")])


def _flatten(graph: ir.Graph, node: ir.Node, few: Shapes, many: Shapes) -> bool:
    weight = _weight(node)
    if weight is None or node.outputs[0] not in few:
        return False
    target = settled_shape(few[node.outputs[0]], many[node.outputs[0]])
    if target is None:
        return False
    last, bias = _addition(node)
    build = Builder(graph)
    rows = build.op("Reshape", node.inputs[0], np.array([-1, few[weight][1]]))
    product = build.op("Gemm", rows, weight, bias, transB=1) if bias else build.op("Gemm", rows, weight, transB=1)
    result = build.op("Reshape", product, target)
    build.before(node)
    replace(last, [result])
    if last is not node:
        graph.remove(node, safe=True)
    return True


def _weight(node: ir.Node) -> ir.Value | None:
    """The parameter whose transpose `node` multiplies by."""
    turned = node.inputs[1].producer() if node.inputs[1] is not None else None
    if turned is None or turned.op_type != "Transpose" or tuple(turned.attributes["perm"].as_ints()) != (1, 0):
        return None
    weight = turned.inputs[0]
    return weight if weight is not None and weight.is_initializer() else None


def _addition(node: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The node that adds a bias to `node`'s result, with the bias; `node` itself if there is none."""
    readers = node.outputs[0].consumers()
    if len(readers) != 1 or readers[0].op_type != "Add" or node.outputs[0].is_graph_output():
        return node, None
    others = [value for value in readers[0].inputs if value is not node.outputs[0]]
    bias = others[0] if others else None
    is_row = bias is not None and bias.is_initializer() and bias.shape is not None and len(bias.shape) == 1
    return (readers[0], bias) if is_row else (node, None)
