from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphs.build import Builder
from graphs.passes.rewrite import Replacement


@dataclass(frozen=True)
class LowerSliceGradient(Replacement):
    """The gradient of Slice puts zeros where the slice left something out, by Pad."""

    operators: ClassVar = ("SliceGrad",)

    def replacement(self, build: Builder, node: ir.Node) -> Sequence[ir.Value | None]:
        return [_lower(build, node)]


def _lower(build: Builder, node: ir.Node) -> ir.Value:
    """Each axis is first spread out to its step, then all are padded, or cropped, to the length they had."""
    value = node.inputs[0]
    assert value is not None
    sliced, whole = _dims(value), _dims(node.outputs[0])
    before, after = np.zeros(len(whole), np.int64), np.zeros(len(whole), np.int64)
    for start, axis, step in _slices(node):
        if step > 1:
            value = _spread(build, value, sliced, axis, step)
        first = min(start + whole[axis], whole[axis]) if start < 0 else start
        before[axis] = first
        after[axis] = whole[axis] - first - sliced[axis]
    return build.op("Pad", value, np.concatenate([before, after]))


def _slices(node: ir.Node) -> list[tuple[int, int, int]]:
    """Start, axis and step of each sliced axis."""
    constants = [_constant(value) for value in node.inputs[2:]]
    starts, _, axes = constants[:3]
    steps = constants[3] if len(constants) > 3 else [1] * len(starts)
    return list(zip(starts, axes, steps, strict=True))


def _spread(build: Builder, value: ir.Value, dims: list[int], axis: int, step: int) -> ir.Value:
    """step - 1 zeros behind every element of `axis`; dims follows."""
    column = build.op("Unsqueeze", value, np.array([axis + 1]))
    pads = np.zeros(2 * (len(dims) + 1), np.int64)
    pads[len(dims) + 1 + axis + 1] = step - 1
    padded = build.op("Pad", column, pads)
    dims[axis] *= step
    return build.op("Reshape", padded, np.array([0 if index == 0 else dim for index, dim in enumerate(dims)]))


def _dims(value: ir.Value) -> list[int]:
    """The dimensions of `value`, a free batch dimension as 0."""
    assert value.shape is not None, f"the shape of {value.name} is unknown"
    return [dim if isinstance(dim, int) else 0 for dim in value.shape.dims]


def _constant(value: ir.Value | None) -> list[int]:
    assert value is not None and value.const_value is not None, "a slice whose bounds are computed"
    return [int(number) for number in value.const_value.numpy().reshape(-1)]
