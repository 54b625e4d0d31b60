"""Inference graphs without BatchNorm: what each of their weights is made of."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, add_initializer, replace
from graphs.passes.rewrite import nodes_of


@dataclass(frozen=True)
class FoldedNorm:
    """The tensors of a BatchNorm, by name."""

    weight: str
    bias: str
    running_mean: str
    running_var: str
    epsilon: float


@dataclass(frozen=True)
class FoldedWeight:
    """One initializer of the folded graph.

    kind: "weight", "bias", "scale" or "shift" of a BatchNorm, or "copy" of `parameter`; see fold_batchnorm.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameter: str | None
    norm: FoldedNorm | None


def fold_batchnorm(graph: ir.Graph, parameters: Collection[str]) -> list[FoldedWeight]:
    """Removes every BatchNormalization of a forward graph in eval mode. parameters: names of the model's own tensors.

    Behind a convolution it becomes part of its weight and bias, elsewhere a product and a sum a channel. Every
    convolution gets an explicit bias, so that the names do not depend on what could be folded. The values of the
    initializers are those of the unfolded graph, or zeros: who calls fills them in, by the returned table.
    """
    table: list[FoldedWeight] = []
    for node in nodes_of(graph, "BatchNormalization"):
        table += _into_convolution(graph, node) if _follows_convolution(node) else _into_product(graph, node)
    for node in nodes_of(graph, "Conv"):
        if len(node.inputs) < 3 or node.inputs[2] is None:
            table.append(_add_bias(graph, node, None))
    done = {entry.name for entry in table}
    return table + [_copied(value) for value in _used(graph, parameters) if value.name not in done]


def _follows_convolution(node: ir.Node) -> bool:
    activation = node.inputs[0]
    convolution = activation.producer() if activation is not None else None
    if activation is None or convolution is None or convolution.op_type != "Conv":
        return False
    weight = convolution.inputs[1]
    return len(activation.uses()) == 1 and weight is not None and len(weight.uses()) == 1


def _into_convolution(graph: ir.Graph, node: ir.Node) -> list[FoldedWeight]:
    assert node.inputs[0] is not None
    convolution = node.inputs[0].producer()
    assert convolution is not None and convolution.inputs[1] is not None
    norm, weight = _norm(node), convolution.inputs[1]
    replace(node, [convolution.outputs[0]])
    folded = FoldedWeight(str(weight.name), "weight", _shape(weight), str(weight.name), norm)
    if len(convolution.inputs) > 2 and convolution.inputs[2] is not None:
        bias = convolution.inputs[2]
        return [folded, FoldedWeight(str(bias.name), "bias", _shape(bias), str(bias.name), norm)]
    return [folded, _add_bias(graph, convolution, norm)]


def _add_bias(graph: ir.Graph, convolution: ir.Node, norm: FoldedNorm | None) -> FoldedWeight:
    weight = convolution.inputs[1]
    assert weight is not None
    channels = _shape(weight)[0]
    name = f"{str(weight.name).removesuffix('weight')}bias"
    convolution.resize_inputs(3)
    convolution.replace_input_with(2, add_initializer(graph, name, np.zeros(channels, np.float32)))
    return FoldedWeight(name, "bias", (channels,), None, norm)


def _into_product(graph: ir.Graph, node: ir.Node) -> list[FoldedWeight]:
    norm = _norm(node)
    activation = node.inputs[0]
    assert activation is not None and activation.shape is not None and node.inputs[1] is not None
    shape = (*_shape(node.inputs[1]), *[1] * (len(activation.shape) - 2))
    stem = norm.weight.removesuffix("weight")
    parts = {kind: add_initializer(graph, f"{stem}{kind}", np.zeros(shape, np.float32)) for kind in ("scale", "shift")}
    build = Builder(graph)
    result = build.op("Add", build.op("Mul", activation, parts["scale"]), parts["shift"])
    build.before(node)
    replace(node, [result])
    return [FoldedWeight(f"{stem}{kind}", kind, shape, None, norm) for kind in parts]


def _norm(node: ir.Node) -> FoldedNorm:
    weight, bias, mean, variance = (str(value.name) for value in node.inputs[1:] if value is not None)
    return FoldedNorm(weight, bias, mean, variance, node.attributes["epsilon"].as_float())


def _used(graph: ir.Graph, parameters: Collection[str]) -> list[ir.Value]:
    return [value for name, value in graph.initializers.items() if name in parameters and value.uses()]


def _copied(value: ir.Value) -> FoldedWeight:
    return FoldedWeight(str(value.name), "copy", _shape(value), str(value.name), None)


def _shape(value: ir.Value) -> tuple[int, ...]:
    assert value.shape is not None
    return tuple(int(dim) for dim in value.shape.numpy())
