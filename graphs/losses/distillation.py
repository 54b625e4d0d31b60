from collections.abc import Sequence
from functools import reduce

import onnx_ir as ir

from graphs.build import Builder, add_input

CONSTANT = ".constant"
"""The input X.constant stands for the value X of the graph, through which no gradient passes."""


def append_distillation(graph: ir.Graph, networks: Sequence[str], weight: float) -> None:
    """Adds to the output `loss`: weight * sum over k of R_k, where R_k is the mean of |x̃_k - x_k|.

    networks: the modules of the meta networks. R_k moves the parameters of network k alone: what enters the part, and
    x_k, are inputs X.constant, which are to be bound once the graph is differentiated; see BindConstants.
    Source: EcoTTA (Song et al., CVPR 2023) equation 3 and algorithm 1.
    """
    build = Builder(graph)
    loss = graph.outputs[1]
    total = reduce(lambda sum_, distance: build.op("Add", sum_, distance), [_distance(build, i) for i in networks])
    combined = build.op("Add", loss, build.op("Mul", total, weight))
    build.at_end()
    name, loss.name = loss.name, f"{loss.name}.entropy"
    combined.name, combined.shape, combined.type = name, loss.shape, loss.type
    graph.outputs[1] = combined


def _distance(build: Builder, network: str) -> ir.Value:
    """R_k [], on a copy of the network that reads constants."""
    convolution, norm = (_reader(build.graph, f"{network}.{part}.weight") for part in ("conv", "norm"))
    before, after = convolution.inputs[0], norm.inputs[0]
    assert before is not None and after is not None
    (result,) = norm.outputs[0].consumers()
    inputs = {value: _constant(build.graph, value) for value in (before, after)}
    corrected = _copy(build, result.outputs[0], inputs)
    return build.op("ReduceMean", build.op("Abs", build.op("Sub", corrected, inputs[after])), keepdims=0)


def _reader(graph: ir.Graph, parameter: str) -> ir.Node:
    (reader,) = graph.initializers[parameter].consumers()
    return reader


def _constant(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The input that stands for `value`; one for all who ask."""
    name = f"{value.name}{CONSTANT}"
    known = [found for found in graph.inputs if found.name == name]
    assert value.shape is not None
    dims = [dim if isinstance(dim, int) else "N" for dim in value.shape]
    return known[0] if known else add_input(graph, name, ir.DataType.FLOAT, dims)


def _copy(build: Builder, value: ir.Value, known: dict[ir.Value, ir.Value]) -> ir.Value:
    """`value` computed again from what `known` says its sources are; parameters are shared."""
    node = value.producer()
    if value in known or node is None:
        return known.get(value, value)
    inputs = [source if source is None else _copy(build, source, known) for source in node.inputs]
    twin = ir.node(node.op_type, inputs, node.attributes, domain=node.domain, num_outputs=len(node.outputs))
    for old, new in zip(node.outputs, twin.outputs, strict=True):
        new.name, new.shape, new.type = f"{old.name}.again", old.shape, old.type
        known[old] = new
    build.nodes.append(twin)
    return known[value]
