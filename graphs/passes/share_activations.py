from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class ShareActivations(Rewrite):
    """An activation that several layers read is kept once, at the lowest of their prune ratios.

    What a layer with a higher ratio keeps is a part of that: it is narrowed down just before it is read.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        readers: dict[ir.Value, list[ir.Node]] = {}
        for node in nodes_of(graph, "Sparsify"):
            if node.inputs[0] is not None and len(node.inputs) == 2:
                readers.setdefault(node.inputs[0], []).append(node)
        shared = [nodes for nodes in readers.values() if len(nodes) > 1]
        for nodes in shared:
            _share(graph, nodes)
        return bool(shared)


def _share(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    save = Builder(graph, EARLY)
    lowest = save.op("Min", *(node.inputs[1] for node in nodes))
    values, places = save.own("Sparsify", 2, nodes[0].inputs[0], lowest)
    save.before(nodes[0])
    for node in nodes:
        _narrow(graph, node, values, places)
    graph.remove(nodes, safe=True)


def _narrow(graph: ir.Graph, node: ir.Node, values: ir.Value, places: ir.Value) -> None:
    """What `node` kept is narrowed from `values` before the backward pass reads it."""
    readers = [reader for reader in node.outputs[1].consumers() if reader.op_type != "Shape"]
    shape = readers[0].inputs[readers[0].inputs.index(node.outputs[1]) + 1]
    late = Builder(graph, LATE)
    narrowed = late.own("Narrow", 2, values, places, shape, node.inputs[1])
    late.before(readers[0])
    for old, new in zip(node.outputs, narrowed, strict=True):
        old.replace_all_uses_with(new)
