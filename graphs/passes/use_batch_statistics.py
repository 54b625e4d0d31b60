from dataclasses import dataclass

import onnx_ir as ir

from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class UseBatchStatistics(Rewrite):
    """Every BatchNormalization normalises with the statistics of its batch and follows them with `momentum`.

    momentum: the weight of the new batch, as PyTorch counts it.
    """

    momentum: float

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "BatchNormalization")
        for node in found:
            node.attributes["training_mode"] = ir.AttrInt64("training_mode", 1)
            node.attributes["momentum"] = ir.AttrFloat32("momentum", 1.0 - self.momentum)
            node.resize_outputs(3)
            for statistic, following in zip(node.inputs[3:], node.outputs[1:], strict=True):
                assert statistic is not None
                taken = any(other.name == f"{statistic.name}.updated" for o in graph for other in o.outputs)
                following.name = f"{node.outputs[0].name}.{statistic.name}" if taken else f"{statistic.name}.updated"
                following.shape, following.type = statistic.shape, statistic.type
        return bool(found)
