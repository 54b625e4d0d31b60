from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, add_input, add_output, producer
from graphs.layers import Layer
from graphs.passes.rewrite import Rewrite


@dataclass(frozen=True)
class SparsifyActivations(Rewrite):
    """What each layer saves for its weight gradient waits as values and bits, pruned at a ratio fed at run time.

    Adds the input `prune_ratios` float32 [L] and the output `kept_elements` int64 [L].
    """

    layers: tuple[Layer, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        ratios = _split_ratios(graph, len(self.layers))
        gradients = {node.name: node for node in graph}
        kept = [
            _sparsify(graph, gradients[layer.gradient], ratio) for layer, ratio in zip(self.layers, ratios, strict=True)
        ]
        report = Builder(graph, EARLY)
        counts = [report.op("Shape", values) for values in kept]
        total = report.op("Concat", *counts, axis=0)
        report.at_end()
        add_output(graph, total, "kept_elements", ir.DataType.INT64, [len(self.layers)])
        return True


def _split_ratios(graph: ir.Graph, count: int) -> list[ir.Value]:
    ratios = add_input(graph, "prune_ratios", ir.DataType.FLOAT, [count])
    split = Builder(graph)
    pieces = split.ops("Split", count, ratios, np.ones(count, np.int64), axis=0)
    split.before(graph[0])
    return list(pieces)


def _sparsify(graph: ir.Graph, gradient: ir.Node, ratio: ir.Value) -> ir.Value:
    """Puts Sparsify behind the activation and Densify before `gradient`; returns the kept values."""
    activation = gradient.inputs[1]
    assert activation is not None
    save = Builder(graph, LATE if activation.is_graph_input() else EARLY)  # an input waits anyway
    values, bits = save.own("Sparsify", 2, activation, ratio)
    shape = save.op("Shape", activation)
    restore = Builder(graph, LATE)
    (dense,) = restore.own("Densify", 1, values, bits, shape)
    dense.shape, dense.type = activation.shape, activation.type
    save.after(producer(ratio if activation.is_graph_input() else activation))
    readers = _readers(activation, gradient)
    restore.before(readers[0])
    for reader in readers:
        reader.replace_input_with(1, dense)
    return values


def _readers(activation: ir.Value, gradient: ir.Node) -> list[ir.Node]:
    """The gradients that read what is kept, in order: BatchNorm has two where its input's is computed apart."""
    if gradient.op_type != "BatchNormalizationGrad":
        return [gradient]
    assert gradient.graph is not None
    return [node for node in gradient.graph if node.op_type == gradient.op_type and node.inputs[1] is activation]
