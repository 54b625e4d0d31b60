from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, SCHEDULE, Builder, producer
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
            _hasten(producer(flag), backward)
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


def _hasten(node: ir.Node, backward: set[ir.Node]) -> None:
    """What makes a flag runs as early as it can, so that what it compares does not wait for the backward pass."""
    readers = {reader for output in node.outputs for reader in output.consumers()}
    if all(reader in backward or reader.metadata_props.get(SCHEDULE) == EARLY for reader in readers):
        node.metadata_props[SCHEDULE] = EARLY
        for value in node.inputs:
            if value is not None and (maker := value.producer()) is not None:
                _hasten(maker, backward)
