import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.sparse_conv_gradient import PIECE
from graphs.passes.update_parameters import shape_of

Gradients = dict[str | None, ir.Value]
"""The name of a gradient → the weight that it is of."""


@dataclass(frozen=True)
class SplitLinearGradient(Rewrite):
    """The weight gradient dY^T X of a large linear layer comes in pieces along its output features.

    They are joined by a Concat that the optimizer looks through, and stand behind all else that reads dY: then each
    piece is used up before the next one is made.
    """

    trained: tuple[str, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        weights: Gradients = {f"{value.name}_grad": value for value in graph.inputs if value.name in self.trained}
        found = [node for node in nodes_of(graph, "Gemm") if _is_large_gradient(node, weights)]
        for node in found:
            _split(graph, node, shape_of(weights[node.outputs[0].name]))
        return bool(found)


def _is_large_gradient(node: ir.Node, weights: Gradients) -> bool:
    plain = len(node.inputs) == 2 and _flag(node, "transA") and not _flag(node, "transB")
    weight = weights.get(node.outputs[0].name)
    return plain and weight is not None and math.prod(shape_of(weight)) > PIECE


def _split(graph: ir.Graph, node: ir.Node, shape: Sequence[int]) -> None:
    gradient, activation = node.inputs
    assert gradient is not None
    features, width = shape
    last = max(gradient.consumers(), key=list(graph).index)
    step = max(1, PIECE // width)
    build = Builder(graph)
    pieces = []
    for begin in range(0, features, step):
        end = min(begin + step, features)
        columns = build.op("Slice", gradient, np.array([begin]), np.array([end]), np.array([1]))
        piece = build.op("Gemm", columns, activation, transA=1)
        piece.shape, piece.type = ir.Shape((end - begin, width)), ir.TensorType(ir.DataType.FLOAT)
        pieces.append(piece)
    whole = build.op("Concat", *pieces, axis=0)
    build.after(last)
    replace(node, [whole])


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].as_int())
