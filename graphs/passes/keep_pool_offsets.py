import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, Attribute, Builder, produced_by, replace
from graphs.passes.rewrite import Rewrite, nodes_of

GEOMETRY = ("kernel_shape", "strides", "pads")


@dataclass(frozen=True)
class KeepPoolOffsets(Rewrite):
    """MaxPool leaves the place of each maximum within its window, half a byte, which is all that its gradient reads.

    Behind a Relu, whose gradient is zero where its output is, a window without a positive element gets a code of its
    own; then the Relu's bits are not needed either.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "MaxPoolGrad") if _is_plain(node)]
        for node in found:
            _rewrite_one(graph, node)
        return bool(found)


def _pool(gradient: ir.Node) -> ir.Node:
    places = gradient.inputs[1]
    pool = places.producer() if places is not None else None
    assert pool is not None
    return pool


def _is_plain(gradient: ir.Node) -> bool:
    """Two dimensions of known size, no dilation, windows of at most 255 places: what the operator knows."""
    pool = _pool(gradient)
    window = pool.attributes["kernel_shape"].as_ints()
    dilated = "dilations" in pool.attributes and set(pool.attributes["dilations"].as_ints()) != {1}
    if len(window) != 2 or math.prod(window) > 255 or dilated or len(_sides(pool.inputs[0])) != 2:
        return False
    return max(_geometry(pool)["pads"]) < min(window)


def _rewrite_one(graph: ir.Graph, gradient: ir.Node) -> None:
    pool = _pool(gradient)
    mask = _mask_behind(gradient, pool)
    geometry: dict[str, Attribute] = {**_geometry(pool), "rectified": int(mask is not None)}
    forward = Builder(graph)
    output, codes = forward.own("MaxPool", 2, pool.inputs[0], **geometry)
    shape = forward.marked(EARLY).op("Shape", pool.inputs[0])
    forward.before(pool)
    backward = Builder(graph)
    (spread,) = backward.own("MaxPoolGradient", 1, gradient.inputs[0], codes, shape, **geometry)
    backward.before(gradient)
    replace(gradient, [spread])
    replace(pool, [output])
    if mask is not None:
        mask.outputs[0].replace_all_uses_with(spread)
        graph.remove(mask, safe=True)


def _geometry(pool: ir.Node) -> dict[str, Sequence[int]]:
    given = {name: tuple(pool.attributes[name].as_ints()) for name in GEOMETRY if name in pool.attributes}
    geometry: dict[str, Sequence[int]] = {"strides": (1, 1), "pads": (0, 0, 0, 0), **given}
    return {**geometry, "pads": [*geometry["pads"][:2], *map(max, geometry["pads"][2:], _needed(pool, geometry))]}


def _needed(pool: ir.Node, geometry: Mapping[str, Sequence[int]]) -> Iterator[int]:
    """Padding behind each side with which the last window is a whole one: more than is given with ceil_mode."""
    sides = zip(_sides(pool.inputs[0]), _sides(pool.outputs[0]), strict=True)
    for axis, (side, pooled) in enumerate(sides):
        end = (pooled - 1) * geometry["strides"][axis] + geometry["kernel_shape"][axis]
        yield end - side - geometry["pads"][axis]


def _sides(value: ir.Value | None) -> list[int]:
    assert value is not None and value.shape is not None
    return [dim for dim in value.shape.dims[2:] if isinstance(dim, int)]


def _mask_behind(gradient: ir.Node, pool: ir.Node) -> ir.Node | None:
    """The ApplyMask of the Relu before `pool`, if the pool's gradient is all that it masks."""
    readers = list(gradient.outputs[0].consumers())
    relu = produced_by(pool.inputs[0], "ReluPack")
    alone = relu is not None and len(readers) == 1 and readers[0].op_type == "ApplyMask"
    return readers[0] if relu is not None and alone and readers[0].inputs[1] is relu.outputs[1] else None
