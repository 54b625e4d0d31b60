"""Forward and backward: the two parts of a training graph, and what passes between them."""

import onnx_ir as ir

from graphs.build import LATE, SCHEDULE

SEED = "loss_grad"
"""The gradient of the loss with respect to itself, from which the backward part follows."""


def backward_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Every node that depends on the loss's gradient or restores what was saved for it. All others are forward."""
    reached: set[ir.Node] = set()
    for node in graph:
        restores = node.metadata_props.get(SCHEDULE) == LATE
        if restores or any(value is not None and _is_gradient(value, reached) for value in node.inputs):
            reached.add(node)
    return reached


def _is_gradient(value: ir.Value, reached: set[ir.Node]) -> bool:
    return value.name == SEED or value.producer() in reached


def saved_values(graph: ir.Graph) -> list[ir.Value]:
    """Values that depend on the batch, computed forward and read backward: they wait in memory in between."""
    backward = backward_nodes(graph)
    return [
        value
        for node in batch_nodes(graph)
        if node not in backward
        for value in node.outputs
        if any(reader in backward for reader in value.consumers())
    ]


def batch_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Every node that depends on the images, in order."""
    images = graph.inputs[0]
    reached: dict[ir.Node, None] = {}
    for node in graph:
        if any(value is not None and (value is images or value.producer() in reached) for value in node.inputs):
            reached[node] = None
    return list(reached)
