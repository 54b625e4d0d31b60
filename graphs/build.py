"""Adding nodes to a graph: write down what is computed, then say where it goes."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import onnx_ir as ir

OWN_DOMAIN = "toolchain"
"""The domain of the operators in `graphs.ops`."""

SCHEDULE = "toolchain.schedule"
EARLY, LATE = "early", "late"

Operand = ir.Value | np.ndarray | float | int | None
Attribute = int | float | str | Sequence[int]


class Builder:
    """Collects nodes and places them together before or after another one.

    A number among the operands becomes a float32 initializer, an array one of its own type; equal constants are
    shared. (The exception is an operator that overwrites its input: give it a computed tensor.)
    """

    def __init__(self, graph: ir.Graph, schedule: str | None = None) -> None:
        """schedule: when the nodes are to run, EARLY, LATE or where they are placed (see graphs.passes.schedule)."""
        self.graph = graph
        self.schedule = schedule
        self.nodes: list[ir.Node] = []

    def marked(self, schedule: str) -> "Builder":
        """The same collection of nodes; those that are added here run at another time."""
        twin = Builder(self.graph, schedule)
        twin.nodes = self.nodes
        return twin

    def op(self, op_type: str, *operands: Operand, name: str | None = None, **attributes: Attribute) -> ir.Value:
        """One node with one output, in the standard domain."""
        return self._add(op_type, "", operands, attributes, (name,))[0]

    def own(self, op_type: str, outputs: int, *operands: Operand, **attributes: Attribute) -> Sequence[ir.Value]:
        """One node of an operator of `graphs.ops` or `graphs.kernels`."""
        return self._add(op_type, OWN_DOMAIN, operands, attributes, (None,) * outputs)

    def ops(
        self, op_type: str, outputs: int, *operands: Operand, domain: str = "", **attributes: Attribute
    ) -> Sequence[ir.Value]:
        """One node with several outputs, or of another domain than the standard one."""
        return self._add(op_type, domain, operands, attributes, (None,) * outputs)

    def _add(
        self,
        op_type: str,
        domain: str,
        operands: Sequence[Operand],
        attributes: Mapping[str, Attribute],
        names: Sequence[str | None],
    ) -> Sequence[ir.Value]:
        inputs = [self._value(operand) for operand in operands]
        node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(names))
        for value, name in zip(node.outputs, names, strict=True):
            value.name = name
        if self.schedule is not None:
            node.metadata_props[SCHEDULE] = self.schedule
        self.nodes.append(node)
        return node.outputs

    def before(self, node: ir.Node) -> None:
        self.graph.insert_before(node, self.nodes)

    def after(self, node: ir.Node) -> None:
        self.graph.insert_after(node, self.nodes)

    def at_end(self) -> None:
        self.graph.extend(self.nodes)

    def _value(self, operand: Operand) -> ir.Value | None:
        if operand is None or isinstance(operand, ir.Value):
            return operand
        array = operand if isinstance(operand, np.ndarray) else np.array(operand, np.float32)
        return self.constant(array)

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer; those of equal content are one."""
        shape = "x".join(map(str, array.shape)) or "scalar"
        content = array.tobytes()
        name = f"constant.{array.dtype}.{shape}.{content.hex() if array.size <= 4 else sha256(content).hexdigest()}"
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        return add_initializer(self.graph, name, array)


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def add_input(graph: ir.Graph, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
    graph.inputs.append(value)
    return value


def add_output(graph: ir.Graph, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> None:
    """Makes `value` a graph output called `name`."""
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(dtype)
    graph.outputs.append(value)


def replace(node: ir.Node, outputs: Sequence[ir.Value | None]) -> None:
    """Removes `node`; what read its outputs reads `outputs` instead, under the same names."""
    for old, new in zip(node.outputs, outputs, strict=False):
        if new is None:
            continue
        name, was_output = old.name, old.is_graph_output()
        new.shape, new.type = old.shape or new.shape, old.type or new.type
        old.replace_all_uses_with(new, replace_graph_outputs=was_output)
        old.name = f"{name}.replaced"
        if (new.producer() is not None and not new.is_graph_output()) or was_output:
            new.name = name
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None, f"{value.name} is not computed in the graph"
    return node


def produced_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes `value`, if it is of this operator."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None
