from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder
from graphs.passes.rewrite import Rewrite, nodes_of

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class StoreHalf(Rewrite):
    """Kept values wait in half precision; what lies beyond its range waits as its largest number."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "Sparsify")
        for node in found:
            _store(graph, node)
        return bool(found)


def _store(graph: ir.Graph, node: ir.Node) -> None:
    values = node.outputs[0]
    readers = [reader for reader in values.consumers() if reader.op_type == "Densify"]
    save = Builder(graph, EARLY)
    half = save.op("Cast", save.op("Clip", values, -LARGEST, LARGEST), to=int(ir.DataType.FLOAT16))
    half.type = ir.TensorType(ir.DataType.FLOAT16)
    save.after(node)
    for reader in readers:
        restore = Builder(graph, LATE)
        whole = restore.op("Cast", half, to=int(ir.DataType.FLOAT))
        restore.before(reader)
        reader.replace_input_with(0, whole)
