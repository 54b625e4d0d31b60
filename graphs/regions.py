"""Forward and backward: the two parts of a training graph, and what passes between them."""

import onnx_ir as ir

SEED = "loss_grad"
"""The gradient of the loss with respect to itself, from which the backward part follows."""


def backward_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Every node that depends on the gradient of the loss. All others are forward."""
    reached: set[ir.Node] = set()
    for node in graph:
        if any(value is not None and _is_gradient(value, reached) for value in node.inputs):
            reached.add(node)
    return reached


def _is_gradient(value: ir.Value, reached: set[ir.Node]) -> bool:
    return value.name == SEED or value.producer() in reached


def saved_values(graph: ir.Graph) -> list[ir.Value]:
    """Values that a forward node computes and a backward node reads: they wait in memory in between."""
    backward = backward_nodes(graph)
    return [
        value
        for node in graph
        if node not in backward
        for value in node.outputs
        if any(reader in backward for reader in value.consumers())
    ]
