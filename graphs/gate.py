"""Whether a step changes what it keeps: the input `active`, and that there is a sample to learn from."""

import onnx_ir as ir

from graphs.build import Builder, add_input
from graphs.losses.entropy import SAMPLE_WEIGHTS

ACTIVE = "active"


def active_input(graph: ir.Graph) -> ir.Value:
    """The input `active` float32 [1], which is 0 for a step that only looks."""
    known = {value.name: value for value in graph.inputs}
    return known.get(ACTIVE) or add_input(graph, ACTIVE, ir.DataType.FLOAT, [1])


def gate(graph: ir.Graph, build: Builder) -> ir.Value:
    """float32 [1]: 0 where the step is not active, or has selected no sample."""
    active = active_input(graph)
    weights = [value for value in graph.outputs if value.name == SAMPLE_WEIGHTS]
    if not weights:
        return active
    heaviest = build.op("ReduceMax", weights[0], keepdims=1)
    return build.op("Mul", active, build.op("Cast", build.op("Greater", heaviest, 0.0), to=int(ir.DataType.FLOAT)))


def gated(build: Builder, gate: ir.Value, open_: float | ir.Value, shut: float) -> ir.Value:
    """float32 [1]: `open_` where the gate is, else `shut`."""
    return build.op("Where", build.op("Cast", gate, to=int(ir.DataType.BOOL)), open_, shut)
