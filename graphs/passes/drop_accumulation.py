from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class DropAccumulation(Rewrite):
    """No gradient leaves the graph, and none is kept in a buffer."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "InPlaceAccumulatorV2")
        buffers = {value for node in found for value in (node.inputs[0], node.inputs[2])}
        accumulated = {node.outputs[0] for node in found}
        graph.outputs[:] = [value for value in graph.outputs if value not in accumulated]
        graph.remove(found, safe=True)
        graph.inputs[:] = [value for value in graph.inputs if value not in buffers]
        return bool(found)
