import math
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
    """Two dimensions, no dilation, no rounding up, windows of at most 255 places: what the operator knows."""
    attributes = _pool(gradient).attributes
    dilated = "dilations" in attributes and set(attributes["dilations"].as_ints()) != {1}
    rounded = "ceil_mode" in attributes and attributes["ceil_mode"].as_int()
    window = attributes["kernel_shape"].as_ints()
    padded = "pads" in attributes and max(attributes["pads"].as_ints()) >= min(window)
    return len(window) == 2 and math.prod(window) <= 255 and not (dilated or rounded or padded)


def _rewrite_one(graph: ir.Graph, gradient: ir.Node) -> None:
    pool = _pool(gradient)
    mask = _mask_behind(gradient, pool)
    geometry = {**_geometry(pool), "rectified": int(mask is not None)}
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


def _geometry(pool: ir.Node) -> dict[str, Attribute]:
    given = {name: pool.attributes[name].as_ints() for name in GEOMETRY if name in pool.attributes}
    return {"strides": (1, 1), "pads": (0, 0, 0, 0), **given}


def _mask_behind(gradient: ir.Node, pool: ir.Node) -> ir.Node | None:
    """The ApplyMask of the Relu before `pool`, if the pool's gradient is all that it masks."""
    readers = list(gradient.outputs[0].consumers())
    relu = produced_by(pool.inputs[0], "ReluPack")
    alone = relu is not None and len(readers) == 1 and readers[0].op_type == "ApplyMask"
    return readers[0] if relu is not None and alone and readers[0].inputs[1] is relu.outputs[1] else None
