from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, producer, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.regions import backward_nodes


@dataclass(frozen=True)
class SelectClipGradient(Rewrite):
    """The gradient of Clip selects by a flag instead of multiplying by the flag as a float tensor."""

    def rewrite(self, graph: ir.Graph) -> bool:
        backward = backward_nodes(graph)
        found = [node for node in nodes_of(graph, "Mul") if node in backward and _flag(node.inputs[1]) is not None]
        for node in found:
            _select(graph, node)
        return bool(found)


def _select(graph: ir.Graph, node: ir.Node) -> None:
    select = Builder(graph)
    flag, factor = _flag(node.inputs[1]), node.inputs[1]
    assert flag is not None and factor is not None
    flag.type = ir.TensorType(ir.DataType.BOOL)
    selected = select.op("Where", flag, node.inputs[0], 0.0)
    select.before(node)
    replace(node, [selected])
    if not factor.uses():
        graph.remove(producer(factor), safe=True)


def _flag(value: ir.Value | None) -> ir.Value | None:
    """The Boolean tensor that `value` is the float form of."""
    cast = value.producer() if value is not None else None
    if cast is None or cast.op_type != "Cast" or cast.inputs[0] is None:
        return None
    source = cast.inputs[0].producer()
    return cast.inputs[0] if source is not None and source.op_type == "And" else None
