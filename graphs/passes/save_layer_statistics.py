from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class SaveLayerStatistics(Rewrite):
    """Every LayerNormalization gives its mean and inverse deviation, which its gradient reads."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "LayerNormalization") if len(node.outputs) < 3]
        for node in found:
            node.resize_outputs(3)
            for statistic, name in zip(node.outputs[1:], ("mean", "inverse_deviation"), strict=True):
                statistic.name = f"{node.outputs[0].name}.{name}"
                statistic.type = ir.TensorType(ir.DataType.FLOAT)
        return bool(found)
