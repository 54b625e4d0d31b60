from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, add_output, produced_by
from graphs.layers import Layer
from graphs.passes.rewrite import Rewrite


@dataclass(frozen=True)
class MeasureGradients(Rewrite):
    """Adds the output `grad_rms` float32 [L]: root mean square of each layer's weight gradient.

    Source: SURGEON (CVPR 2025), the gradient importance G of section 3.3.
    """

    layers: tuple[Layer, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        computed = {value.name: value for node in graph for value in node.outputs}
        measure = Builder(graph, EARLY)
        weights = {value.name: value for value in graph.inputs}
        parts = [
            _root_mean_square(measure, computed[f"{layer.parameter}_grad"], weights[layer.parameter])
            for layer in self.layers
        ]
        total = measure.op("Concat", *parts, axis=0)
        measure.at_end()
        add_output(graph, total, "grad_rms", ir.DataType.FLOAT, [len(parts)])
        return True


def pieces_of(gradient: ir.Value) -> list[ir.Value]:
    """The parts, one behind the other, that `gradient` is joined from; itself if it is whole."""
    joined = produced_by(gradient, "Concat")
    return [value for value in joined.inputs if value is not None] if joined is not None else [gradient]


def _root_mean_square(build: Builder, gradient: ir.Value, weight: ir.Value) -> ir.Value:
    assert weight.shape is not None
    count = int(np.prod(weight.shape.numpy()))
    norms = [build.op("Reshape", build.op("ReduceL2", part, keepdims=1), np.array([1])) for part in pieces_of(gradient)]
    norm = norms[0] if len(norms) == 1 else build.op("ReduceL2", build.op("Concat", *norms, axis=0), keepdims=1)
    return build.op("Div", norm, float(np.sqrt(count)))
