"""The layers of a training graph: the places where an activation is saved for a weight gradient."""

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from graphs.regions import backward_nodes

KINDS = {
    "Conv": "conv",
    "Gemm": "linear",
    "MatMul": "linear",
    "BatchNormInternal": "batchnorm",
    "LayerNormalization": "layernorm",
}


@dataclass(frozen=True)
class Layer:
    """One pruned activation: the input of the layer `name`, whose weight is `parameter`.

    gradient: the node that computes the weight's gradient and reads the activation as its input 1.
    """

    name: str
    kind: str
    elements_per_sample: int
    parameter: str
    gradient: str


def find_layers(graph: ir.Graph, trained: Collection[str]) -> tuple[Layer, ...]:
    """The layers with a trained weight, in the order of the forward nodes."""
    backward = backward_nodes(graph)
    candidates = [node for node in graph if node not in backward and node.op_type in KINDS]
    return tuple(_layer(graph, node, backward) for node in candidates if _weight(node) in trained)


def _weight(node: ir.Node) -> str | None:
    return node.inputs[1].name if len(node.inputs) > 1 and node.inputs[1] is not None else None


def _layer(graph: ir.Graph, node: ir.Node, backward: set[ir.Node]) -> Layer:
    activation, weight = node.inputs[0], _weight(node)
    assert activation is not None and weight is not None
    gradient = next(
        reader
        for reader in activation.consumers()
        if reader in backward and any(output.name == f"{weight}_grad" for output in reader.outputs)
    )
    assert gradient.name is not None
    name = weight.removesuffix("weight").rstrip("._")
    return Layer(name, KINDS[node.op_type], elements(activation, batch=1), weight, gradient.name)


def elements(value: ir.Value, batch: int) -> int:
    """How many elements `value` has when the batch dimension is `batch`."""
    assert value.shape is not None, f"the shape of {value.name} is unknown"
    count = 1
    for dim in value.shape.evaluate({"N": batch}).dims:
        assert isinstance(dim, int), f"{value.name} has the free dimension {dim}"
        count *= dim
    return count
