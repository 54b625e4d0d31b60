from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerTrainingOperators(Replacement):
    """Scale, ConcatTraining and SplitTraining of the engine's dialect are standard operators."""

    operators: ClassVar = ("Scale", "ConcatTraining", "SplitTraining")

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        return LOWERINGS[node.op_type](build, node)


def _scaled(build: Builder, node: ir.Node) -> Sequence[ir.Value]:
    value, scale = node.inputs
    divide = "scale_down" in node.attributes and node.attributes["scale_down"].as_int()
    factor = build.op("Cast", scale, to=int(ir.DataType.FLOAT))
    return [build.op("Div" if divide else "Mul", value, factor)]


def _joined(build: Builder, node: ir.Node) -> Sequence[ir.Value]:
    """The tensors one behind the other and, if it is wanted, how long each of them is."""
    axis = node.attributes["axis"].as_int()
    joined = build.op("Concat", *node.inputs, axis=axis)
    counted = len(node.outputs) > 1 and node.outputs[1].uses()
    return [joined, _lengths(build, node.inputs, axis)] if counted else [joined]


def _lengths(build: Builder, values: Sequence[ir.Value | None], axis: int) -> ir.Value:
    known = [value.shape[axis] for value in values if value is not None and value.shape is not None]
    fixed = [dim for dim in known if isinstance(dim, int)]
    if len(fixed) == len(values):
        return build.constant(np.array(fixed))
    lengths = [build.op("Gather", build.op("Shape", value), np.array([axis])) for value in values]
    return build.op("Concat", *lengths, axis=0)


def _split(build: Builder, node: ir.Node) -> Sequence[ir.Value]:
    return build.ops("Split", len(node.outputs), *node.inputs, axis=node.attributes["axis"].as_int())


LOWERINGS: Mapping[str, Callable[[Builder, ir.Node], Sequence[ir.Value]]] = {
    "Scale": _scaled,
    "ConcatTraining": _joined,
    "SplitTraining": _split,
}
