"""Operators of our own whose outputs take their inputs' memory, as the native kernels declare it to the runtime."""

import onnx_ir as ir

from graphs.build import OWN_DOMAIN

IN_PLACE: dict[str, int] = {
    "ApplyMask": 1,
    "BatchNormalize": 1,
    "BatchNormalizeRelu": 1,
    "ReluPack": 1,
    "AddInto": 1,
    "AddMasked": 1,
    "AddStrided": 1,
    "BatchNormGradient": 1,
    "AdamUpdate": 3,
    "MomentumUpdate": 2,
}
"""How many of the first inputs are overwritten; the outputs of the same numbers are what they then hold."""

VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
"""Standard operators whose output is their input's memory, unchanged."""


def overwritten(node: ir.Node) -> list[ir.Value]:
    """The inputs whose memory `node` takes for its outputs."""
    count = IN_PLACE.get(node.op_type, 0) if node.domain == OWN_DOMAIN else 0
    return [value for value in node.inputs[:count] if value is not None]


def memory_of(node: ir.Node, index: int) -> ir.Value | None:
    """The input whose memory output `index` of `node` takes; None for memory of its own."""
    if node.op_type in VIEWS and node.domain == "" and index == 0:
        return node.inputs[0] if node.inputs else None
    taken = overwritten(node)
    return taken[index] if index < len(taken) else None


def readers_through_views(value: ir.Value) -> list[ir.Node]:
    """Every node that reads the memory of `value` as it is: its own consumers and those of its views."""
    readers = []
    for node in value.consumers():
        readers.append(node)
        if node.op_type in VIEWS and node.domain == "" and node.inputs[0] is value:
            readers += readers_through_views(node.outputs[0])
    return readers
