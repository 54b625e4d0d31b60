from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.sizes import find_sizes


@dataclass(frozen=True)
class DropFullSlices(Rewrite):
    """Every Slice leaves something out or turns something round."""

    def rewrite(self, graph: ir.Graph) -> bool:
        sizes = find_sizes(graph, 2)
        found = [node for node in nodes_of(graph, "Slice") if _is_full(node, {v: s.shape for v, s in sizes.items()})]
        for node in found:
            replace(node, [node.inputs[0]])
        return bool(found)


def _is_full(node: ir.Node, shapes: dict[ir.Value, tuple[int, ...]]) -> bool:
    source = node.inputs[0]
    same = source in shapes and source is not None and shapes[source] == shapes.get(node.outputs[0])
    return same and not node.outputs[0].is_graph_output() and _runs_forward(node)


def _runs_forward(node: ir.Node) -> bool:
    """Whether no step is negative, as far as can be told."""
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    if steps is None:
        return True
    known = ir.convenience.get_const_tensor(steps)
    return known is not None and bool((known.numpy() > 0).all())
