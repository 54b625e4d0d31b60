from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import LATE, Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerGatherGradient(Replacement):
    """The gradient of Gather with a single index or a list of them adds each slice to the place it came from."""

    operators: ClassVar = ("GatherGrad",)

    def applies(self, node: ir.Node) -> bool:
        return _rank(node.inputs[1]) in (0, 1)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        return [_lower(build.marked(LATE), node)]


def _lower(build: Builder, node: ir.Node) -> ir.Value:
    shape, places, gradient = node.inputs
    rank = _rank(gradient) + 1 - _rank(places)
    axis = node.attributes["axis"].as_int() % rank
    slices = gradient if _rank(places) else build.op("Unsqueeze", gradient, np.array([axis]))
    column = np.where(np.arange(rank) == axis, -1, 1)
    index = build.op("Expand", build.op("Reshape", places, column), build.op("Shape", slices))
    zeros = build.op("ConstantOfShape", shape)
    return build.op("ScatterElements", zeros, index, slices, axis=axis, reduction="add")


def _rank(value: ir.Value | None) -> int:
    assert value is not None and value.shape is not None, f"the rank of {value} is unknown"
    return len(value.shape)
