from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, produced_by, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class AddStrided(Rewrite):
    """The input gradient of a strided pointwise convolution is added where its stride reached, and nowhere else.

    It is zero at all other pixels, and is not spread over them.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [(node, index) for node in nodes_of(graph, "AddInto") for index in (0, 1) if _is_strided(node, index)]
        taken = {node: index for node, index in found}
        for node, index in taken.items():
            _rewrite_one(graph, node, index)
        return bool(found)


def _is_strided(node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    spread = produced_by(value, "ConvTranspose")
    if spread is None or value is None or len(value.uses()) > 1:
        return False
    facts, weight = spread.attributes, spread.inputs[1]
    assert weight is not None and weight.shape is not None
    pointwise = tuple(weight.shape.dims[2:]) == (1, 1) and not any(facts["pads"].as_ints())
    return pointwise and facts["group"].as_int() == 1


def _rewrite_one(graph: ir.Graph, node: ir.Node, index: int) -> None:
    spread = produced_by(node.inputs[index], "ConvTranspose")
    assert spread is not None
    gradient, weight = spread.inputs[:2]
    assert gradient is not None and gradient.shape is not None and weight is not None and weight.shape is not None
    outward, inward = (int(dim) for dim in weight.shape.numpy()[:2])
    height, width = (int(str(dim)) for dim in gradient.shape.dims[2:])
    build = Builder(graph)
    matrix = build.op("Transpose", build.op("Reshape", weight, np.array([outward, inward])), perm=(1, 0))
    pixels = build.op("Reshape", gradient, np.array([0, outward, -1]))
    product = build.op("MatMul", matrix, pixels)
    small = build.op("Reshape", product, np.array([0, inward, height, width]))
    build.before(spread)
    add = Builder(graph)
    strides = spread.attributes["strides"].as_ints()
    total = add.own("AddStrided", 1, node.inputs[1 - index], small, strides=strides)
    add.before(node)
    replace(node, list(total))
    graph.remove(spread, safe=True)
