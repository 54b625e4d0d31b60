from dataclasses import dataclass

import onnx
import onnx_ir as ir

from graphs.origin import module_of
from graphs.passes.rewrite import Rewrite

OLDEST = 17
UNCHANGED_INPUTS = {"Pad": 3, "Resize": 4, "ScatterElements": 3, "ScatterND": 3, "Split": 2}
"""Operators that opset 18 extended by inputs or attributes, and how many inputs they had before."""


class NewerOperator(Exception):
    """A node that the older opset cannot express; the message names it and the module it came from."""


@dataclass(frozen=True)
class LowerOpset(Rewrite):
    """No node uses what came after opset `version`, which is 17 or 18.

    Raises NewerOperator.
    """

    version: int

    def rewrite(self, graph: ir.Graph) -> bool:
        if graph.opset_imports[""] <= self.version or self.version < OLDEST:
            return False
        for node in graph:
            if onnx.defs.get_schema(node.op_type, graph.opset_imports[""]).since_version > self.version:
                _lower(node, self.version)
        graph.opset_imports[""] = self.version
        return True


def _lower(node: ir.Node, version: int) -> None:
    if node.op_type.startswith("Reduce"):
        _axes_to_attribute(node)
    elif len([value for value in node.inputs if value is not None]) > UNCHANGED_INPUTS.get(node.op_type, -1):
        raise NewerOperator(f"{node.op_type} in module {module_of(node)} (node {node.name})")
    known = onnx.defs.get_schema(node.op_type, version).attributes
    for name in [name for name in node.attributes if name not in known]:
        del node.attributes[name]


def _axes_to_attribute(node: ir.Node) -> None:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None:
        return
    if axes.const_value is None:
        raise NewerOperator(f"{node.op_type} with computed axes in module {module_of(node)} (node {node.name})")
    node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.const_value.numpy()])
    node.resize_inputs(1)
