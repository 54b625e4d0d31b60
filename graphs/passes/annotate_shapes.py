from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite
from graphs.sizes import find_sizes
from graphs.tensor_size import TensorSize


@dataclass(frozen=True)
class AnnotateShapes(Rewrite):
    """Every computed value says its type and its shape, in which N is the batch."""

    def rewrite(self, graph: ir.Graph) -> bool:
        few, many = (find_sizes(graph, batch) for batch in (2, 3))
        computed = [value for node in graph for value in node.outputs if value in few and value in many]
        return any([_annotate(value, few[value], many[value]) for value in computed])


def _annotate(value: ir.Value, few: TensorSize, many: TensorSize) -> bool:
    known = value.shape is not None and all(isinstance(dim, int) or dim.value for dim in value.shape.dims)
    if known and value.type is not None:
        return False
    value.shape = ir.Shape([_dimension(size, other) for size, other in zip(few.shape, many.shape, strict=True)])
    value.type = ir.TensorType(few.dtype)
    return True


def _dimension(few: int, many: int) -> int | str | None:
    """From its size for batches of two and of three: a number, a multiple of N or, for anything else, nothing."""
    each = many - few
    if each == 0:
        return few
    if few != 2 * each:
        return None
    return "N" if each == 1 else f"{each}*N"
