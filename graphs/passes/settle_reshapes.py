from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.sizes import find_sizes


@dataclass(frozen=True)
class SettleReshapes(Rewrite):
    """A Reshape to a shape of which at most one dimension depends on the batch reads a constant.

    What such a shape was computed with is left without a reader.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        few, many = ({v: s.shape for v, s in find_sizes(graph, batch).items()} for batch in (2, 3))
        found = [node for node in nodes_of(graph, "Reshape") if node.outputs[0] in few and node.outputs[0] in many]
        return any([_settle(graph, node, settled_shape(few[node.outputs[0]], many[node.outputs[0]])) for node in found])


def settled_shape(few: tuple[int, ...], many: tuple[int, ...]) -> np.ndarray | None:
    """A target for Reshape, from a shape for two batch sizes; None where more than one dimension depends on them."""
    target = [size if size == other else -1 for size, other in zip(few, many, strict=True)]
    return np.array(target, np.int64) if target.count(-1) <= 1 else None


def _settle(graph: ir.Graph, node: ir.Node, target: np.ndarray | None) -> bool:
    current = node.inputs[1]
    if target is None or current is None or current.const_value is not None:
        return False
    node.replace_input_with(1, Builder(graph).constant(target))
    return True
