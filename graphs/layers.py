"""The layers of a training graph: the places where an activation is saved for a weight gradient."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from graphs.regions import backward_nodes
from graphs.sizes import find_sizes
from graphs.tensor_size import TensorSize

KINDS = {
    "Conv": "conv",
    "Gemm": "linear",
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


class UnprunableLayer(Exception):
    """A layer whose weight's gradient is not formed from one activation: its parameter."""


def find_layers(graph: ir.Graph, trained: Collection[str]) -> tuple[Layer, ...]:
    """The layers with a trained weight, in the order of the forward nodes.

    Raises UnprunableLayer for a weight that is used more than once.
    """
    backward = backward_nodes(graph)
    sizes = find_sizes(graph, batch=1)
    candidates = [node for node in graph if node not in backward and node.op_type in KINDS]
    return tuple(_layer(node, backward, sizes) for node in candidates if _weight(node) in trained)


def _weight(node: ir.Node) -> str | None:
    return node.inputs[1].name if len(node.inputs) > 1 and node.inputs[1] is not None else None


def _layer(node: ir.Node, backward: set[ir.Node], sizes: Mapping[ir.Value, TensorSize]) -> Layer:
    activation, weight = node.inputs[0], _weight(node)
    assert activation is not None and weight is not None
    gradient = _gradient(activation, weight, backward)
    name = weight.removesuffix("weight").rstrip("._")
    return Layer(name, KINDS[node.op_type], sizes[activation].elements, weight, str(gradient.name))


def _gradient(activation: ir.Value, weight: str, backward: set[ir.Node]) -> ir.Node:
    """What computes the whole gradient of `weight` and reads `activation` as its input 1."""
    for reader in activation.consumers():
        gives = {output.name for output in reader.outputs}
        if reader in backward and f"{weight}_grad" in gives and reader.inputs[1] is activation:
            return reader
    raise UnprunableLayer(weight)
