from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.sizes import find_sizes


@dataclass(frozen=True)
class MergeTransposes(Rewrite):
    """The last two axes of a tensor are exchanged by one Transpose, also where the others were merged meanwhile.

    The exporter reshapes the keys of an attention to three axes, exchanges two and reshapes them back.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        sizes = find_sizes(graph, 2)
        shapes = {value: size.shape for value, size in sizes.items()}
        return any([_merge(graph, node, shapes) for node in nodes_of(graph, "Reshape")])


def _merge(graph: ir.Graph, back: ir.Node, shapes: dict[ir.Value, tuple[int, ...]]) -> bool:
    turn = _producer(back, "Transpose")
    away = _producer(turn, "Reshape")
    if turn is None or away is None or tuple(turn.attributes["perm"].as_ints()) != (0, 2, 1):
        return False
    source = away.inputs[0]
    assert source is not None
    before, after = shapes.get(source, ()), shapes.get(back.outputs[0], ())
    if len(before) < 3 or (*before[:-2], before[-1], before[-2]) != after or shapes[turn.outputs[0]][1:] != after[-2:]:
        return False
    rank = len(before)
    build = Builder(graph)
    turned = build.op("Transpose", source, perm=(*range(rank - 2), rank - 1, rank - 2))
    build.before(back)
    replace(back, [turned])
    return True


def _producer(node: ir.Node | None, op_type: str) -> ir.Node | None:
    """What computes the first input of `node`, if it is an `op_type`."""
    value = node.inputs[0] if node is not None else None
    found = value.producer() if value is not None else None
    return found if found is not None and found.op_type == op_type else None
