from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class ScatterPoolGradient(Rewrite):
    """The gradient of MaxPool scatters by the place of each maximum within its plane, saved in 16 bits if it fits.

    ONNX counts the places of MaxPool through the whole tensor, in 64 bits.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "MaxPoolGrad")
        for node in found:
            _rewrite_one(graph, node)
        return bool(found)


def _rewrite_one(graph: ir.Graph, node: ir.Node) -> None:
    gradient, places = node.inputs
    assert gradient is not None and places is not None
    pool = places.producer()
    assert pool is not None and pool.inputs[0] is not None
    plane = _plane(pool.inputs[0])
    narrow = ir.DataType.UINT16 if plane <= 2**16 else ir.DataType.INT32
    save = Builder(graph, EARLY)
    saved = save.op("Cast", save.op("Mod", places, np.array([plane])), to=int(narrow))
    shape = save.op("Shape", pool.inputs[0])
    save.after(pool)
    late = Builder(graph, LATE)
    window = _plane(pool.outputs[0])
    index = late.op("Reshape", late.op("Cast", saved, to=int(ir.DataType.INT32)), np.array([-1, window]))
    late.before(node)
    scatter = Builder(graph)
    rows = scatter.op("Reshape", gradient, np.array([-1, window]))
    count = scatter.op("Div", scatter.op("Size", rows), np.array(window))
    size = scatter.op("Concat", scatter.op("Reshape", count, np.array([1])), np.array([plane]), axis=0)
    zeros = scatter.op("ConstantOfShape", size)
    added = scatter.op("ScatterElements", zeros, index, rows, axis=1, reduction="add")
    result = scatter.op("Reshape", added, shape)
    scatter.before(node)
    replace(node, [result])


def _plane(value: ir.Value) -> int:
    """Elements of one channel of one sample."""
    assert value.shape is not None
    return int(np.prod([dim for dim in value.shape.dims[2:] if isinstance(dim, int)]))
