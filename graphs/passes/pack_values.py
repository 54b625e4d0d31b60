from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, producer
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.regions import backward_nodes

KEEPERS = ("Sparsify", "SparsifyPair")


@dataclass(frozen=True)
class PackValues(Rewrite):
    """Kept values that wait for the backward pass take 28 bits each; each reader unpacks them for itself."""

    def rewrite(self, graph: ir.Graph) -> bool:
        backward = backward_nodes(graph)
        found = [node for name in KEEPERS for node in nodes_of(graph, name) if node not in backward]
        for node in found:
            _pack(graph, node.outputs[0])
        return bool(found)


def _pack(graph: ir.Graph, values: ir.Value) -> None:
    readers = [node for node in values.consumers() if node.op_type != "Shape"]
    save = Builder(graph, EARLY)
    (packed,) = save.own("PackValues", 1, values)
    save.after(producer(values))
    for reader in readers:
        restore = Builder(graph, LATE)
        (unpacked,) = restore.own("UnpackValues", 1, packed)
        restore.before(reader)
        reader.replace_input_with(list(reader.inputs).index(values), unpacked)
