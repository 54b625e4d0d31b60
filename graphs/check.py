"""Runs passes over a graph and checks it between them."""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from graphs.passes.rewrite import Pass

Hook = Callable[[str, ir.Model], None]


class BrokenGraph(Exception):
    """A pass left a graph that no runtime could execute: the pass's name and what is wrong."""


def run_passes(model: ir.Model, passes: Sequence[Pass], after_each: Hook | None = None) -> None:
    """Runs `passes` in order. after_each: called with the pass's name and the model, for dumps and timing.

    Raises BrokenGraph naming the first pass that left the graph unsound.
    """
    for step in passes:
        name = type(step).__name__
        step(model)
        complaint = complaint_about(model.graph)
        if complaint:
            raise BrokenGraph(f"after {name}: {complaint}")
        if after_each:
            after_each(name, model)


def complaint_about(graph: ir.Graph) -> str | None:
    """What is unsound in `graph`: a value used before it is computed, or a name given twice. None if nothing is."""
    known = {*graph.inputs, *graph.initializers.values()}
    names = {value.name for value in known}
    for node in graph:
        missing = [value.name for value in node.inputs if value is not None and value not in known]
        if missing:
            return f"{node.op_type} {node.name} reads {missing[0]} before it is computed"
        for value in node.outputs:
            if value.name in names:
                return f"{node.op_type} {node.name} gives the name {value.name} a second time"
            known.add(value)
            if value.name:
                names.add(value.name)
    missing = [value.name for value in graph.outputs if value not in known]
    return f"the output {missing[0]} is not computed" if missing else None
