from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, producer
from graphs.passes.rewrite import Rewrite
from graphs.regions import backward_nodes, saved_values


@dataclass(frozen=True)
class PackMasks(Rewrite):
    """Flags that wait for the backward pass take one bit each."""

    def rewrite(self, graph: ir.Graph) -> bool:
        flags = [value for value in saved_values(graph) if value.dtype == ir.DataType.BOOL]
        backward = backward_nodes(graph)
        for flag in flags:
            _pack(graph, flag, [node for node in flag.consumers() if node in backward])
        return bool(flags)


def _pack(graph: ir.Graph, flag: ir.Value, readers: list[ir.Node]) -> None:
    save = Builder(graph, EARLY)
    (bits,) = save.own("PackMask", 1, flag)
    shape = save.op("Shape", flag)
    save.after(producer(flag))
    restore = Builder(graph, LATE)
    (restored,) = restore.own("UnpackMask", 1, bits, shape)
    restored.shape, restored.type = flag.shape, flag.type
    restore.before(readers[0])
    for reader in readers:
        for index, value in enumerate(reader.inputs):
            if value is flag:
                reader.replace_input_with(index, restored)
