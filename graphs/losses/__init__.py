"""Losses of test-time adaptation, as nodes behind the logits of a forward graph."""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from graphs.build import Builder, add_output
from graphs.losses.confident_entropy import confident_entropy
from graphs.losses.cross_entropy import cross_entropy, cross_entropy_to
from graphs.losses.entropy import mean_entropy, weighted_entropy

Term = Callable[[Builder, ir.Value], ir.Value]

TERMS: Mapping[str, Term] = {
    "entropy": mean_entropy,
    "confident_entropy": confident_entropy,
    "targets": cross_entropy_to,
    "log_targets": cross_entropy,
}


def append_loss(graph: ir.Graph, names: Sequence[str] = ("entropy",), weighted: bool = False) -> None:
    """Adds the output `loss` float32 []: the sum of the terms, computed from the logits.

    weighted: the entropy's samples count by the input `sample_weights`, not equally.
    """
    build = Builder(graph)
    known = {**TERMS, "entropy": weighted_entropy} if weighted else TERMS
    terms = [known[name](build, graph.outputs[0]) for name in names]
    loss = terms[0]
    for term in terms[1:]:
        loss = build.op("Add", loss, term)
    build.at_end()
    add_output(graph, loss, "loss", ir.DataType.FLOAT, [])
