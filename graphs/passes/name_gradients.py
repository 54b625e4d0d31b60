from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class NameGradients(Rewrite):
    """The gradient of a trained parameter bears its name, NAME_grad, where it is computed and not only on a copy."""

    trained: tuple[str, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        names = {f"{name}_grad" for name in self.trained}
        copies = [node for node in nodes_of(graph, "Identity") if node.outputs[0].name in names]
        for node in copies:
            source, copy = node.inputs[0], node.outputs[0]
            assert source is not None
            source.name, copy.name = copy.name, f"{copy.name}.copy"
        return bool(copies)
