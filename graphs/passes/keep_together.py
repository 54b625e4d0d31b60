from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, produced_by
from graphs.passes.rewrite import Rewrite, nodes_of

KEPT_NORM, KEPT_CONV = 4, 5
"""Where `bounds` says how many elements each of the two keeps."""


@dataclass(frozen=True)
class KeepTogether(Rewrite):
    """BatchNorm and the convolution behind its Relu keep their activations in one store.

    What the convolution reads follows from the centred input of BatchNorm, so the union of what the two keep is stored
    once, as the latter. Which elements are whose follows from their values. What several convolutions read keeps the
    store that they share.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "BatchNormalizeRelu") if _keepers(node) is not None]
        for node in found:
            _join(graph, node)
        return bool(found)


def _keepers(normalize: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The nodes that keep the centred input and the output of `normalize`, if each is kept once."""
    before, after = (_only(value) for value in (normalize.inputs[0], normalize.outputs[0]))
    if before is None or after is None or len(before.inputs) != 3 or len(after.inputs) != 2:
        return None
    if produced_by(after.inputs[1], "Min") is not None:
        return None
    return before, after


def _only(value: ir.Value | None) -> ir.Node | None:
    readers = [node for node in value.consumers() if node.op_type == "Sparsify"] if value is not None else []
    return readers[0] if len(readers) == 1 else None


def _join(graph: ir.Graph, normalize: ir.Node) -> None:
    keepers = _keepers(normalize)
    assert keepers is not None
    activation, scale, bias, mean, inverse = normalize.inputs
    ratios, center = [keeper.inputs[1] for keeper in keepers], keepers[0].inputs[2]
    save = Builder(graph, EARLY)
    slope = save.op("Mul", scale, inverse)
    if center is not mean:  # of mixed statistics
        bias = save.op("Add", bias, save.op("Mul", slope, save.op("Sub", center, mean)))
    values, places, bounds = save.own("SparsifyPair", 3, activation, *ratios, center, slope, bias)
    shape = save.op("Shape", activation)
    for keeper, index in zip(keepers, (KEPT_NORM, KEPT_CONV), strict=True):
        _count(save, keeper, bounds, index)
    save.before(normalize)
    store = (values, places, shape, bounds)
    _select(graph, keepers[0], "SelectNorm", store)
    _select(graph, keepers[1], "SelectConv", (*store, slope, bias))
    graph.remove(keepers, safe=True)


def _count(build: Builder, keeper: ir.Node, bounds: ir.Value, index: int) -> None:
    """Who asks how many elements `keeper` keeps finds the number in `bounds`."""
    for reader in list(keeper.outputs[0].consumers()):
        if reader.op_type == "Shape":
            kept = build.op("Slice", bounds, np.array([index]), np.array([index + 1]))
            reader.outputs[0].replace_all_uses_with(kept)
            build.graph.remove(reader, safe=True)


def _select(graph: ir.Graph, keeper: ir.Node, op_type: str, operands: tuple[ir.Value | None, ...]) -> None:
    readers = list(keeper.outputs[1].consumers())
    late = Builder(graph, LATE)
    selected = late.own(op_type, 2, *operands)
    late.before(readers[0])
    for old, new in zip(keeper.outputs, selected, strict=True):
        old.replace_all_uses_with(new)
