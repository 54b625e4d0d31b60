from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite


@dataclass(frozen=True)
class FeedParameters(Rewrite):
    """The tensors of these names are inputs of the graph, behind those it has, and no longer constants."""

    names: tuple[str, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [graph.initializers.pop(name) for name in self.names if name in graph.initializers]
        for value in found:
            value.const_value = None
            graph.inputs.append(value)
        return bool(found)
