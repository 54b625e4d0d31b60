from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, produced_by
from graphs.passes.rewrite import Rewrite, nodes_of

BITS_OUTPUT = ("ReluPack", "BatchNormalizeRelu")


@dataclass(frozen=True)
class HoldMasked(Rewrite):
    """What a residual connection carries past a block waits as its non-zero elements, whose places are known.

    The output of a Relu, and a gradient that came through one, are zero wherever the Relu's bits are: what is to be
    added later, or is read by a second branch, waits without these zeros. No value changes.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        additions = [node for node in nodes_of(graph, "AddInto") if _bits(node.inputs[1]) is not None]
        for node in additions:
            _add_held(graph, node)
        branches = [node for node in nodes_of(graph, "ApplyMask") if len(_gradients(node)) > 1]
        for node in branches:
            for reader in _gradients(node)[1:]:
                _restore_held(graph, node, reader)
        return bool(additions or branches)


def _bits(value: ir.Value | None) -> ir.Value | None:
    """The bits outside of which `value` is zero."""
    node = value.producer() if value is not None else None
    if node is None or node.outputs[0] is not value:
        return None
    if node.op_type in BITS_OUTPUT:
        return node.outputs[1]
    return node.inputs[1] if node.op_type == "ApplyMask" else None


def _gradients(mask: ir.Node) -> list[ir.Node]:
    """Who would overwrite the masked gradient."""
    return [node for node in mask.outputs[0].consumers() if node.op_type == "BatchNormGradient"]


def _hold(graph: ir.Graph, value: ir.Value, bits: ir.Value) -> ir.Value:
    node = value.producer()
    assert node is not None
    known = [reader for reader in value.consumers() if produced_by(reader.outputs[0], "GatherMasked")]
    if known:
        return known[0].outputs[0]
    gather = Builder(graph, EARLY)
    (held,) = gather.own("GatherMasked", 1, value, bits)
    gather.after(node)
    return held


def _add_held(graph: ir.Graph, node: ir.Node) -> None:
    value = node.inputs[1]
    bits = _bits(value)
    assert value is not None and bits is not None
    node.replace_input_with(1, _hold(graph, value, bits))
    node.op_type = "AddMasked"
    node.resize_inputs(3)
    node.replace_input_with(2, bits)


def _restore_held(graph: ir.Graph, mask: ir.Node, reader: ir.Node) -> None:
    value, bits = mask.outputs[0], mask.inputs[1]
    assert bits is not None
    held = _hold(graph, value, bits)
    shape = Builder(graph, EARLY)
    length = shape.op("Shape", value)
    shape.after(mask)
    late = Builder(graph, LATE)
    (restored,) = late.own("ScatterMasked", 1, held, bits, length)
    late.before(reader)
    reader.replace_input_with(0, restored)
