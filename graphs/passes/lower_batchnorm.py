from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, add_output, replace
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.schedule import UPDATED


@dataclass(frozen=True)
class LowerBatchNorm(Rewrite):
    """BatchNorm on batch statistics is the standard operator, and the running statistics follow as in PyTorch.

    ONNX Runtime's operator writes the new statistics over its inputs 3 and 4, even where these are constants: each
    gets tensors of its own. It gives the population variance, and the running variance follows the unbiased one.
    """

    momentum: float

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "BatchNormInternal")
        for node in found:
            self._lower(graph, node)
        return bool(found)

    def _lower(self, graph: ir.Graph, node: ir.Node) -> None:
        activation, scale, bias, running_mean, running_var = node.inputs
        assert scale is not None and scale.shape is not None
        channels = int(scale.shape.numpy()[0])
        epsilon = node.attributes["epsilon"].as_float()
        build = Builder(graph)
        own = [build.op("ConstantOfShape", np.array([channels])) for _ in range(2)]
        output, mean, variance = build.ops(
            "BatchNormalization", 3, activation, scale, bias, *own, epsilon=epsilon, momentum=0.0, training_mode=1
        )
        late = Builder(graph, EARLY)
        inverse = late.op("Reciprocal", late.op("Sqrt", late.op("Add", variance, epsilon)))
        next_mean = follow(late, running_mean, mean, self.momentum)
        unbiased = late.op("Mul", variance, bessel(late, activation, channels))
        next_var = follow(late, running_var, unbiased, self.momentum)
        build.before(node)
        late.before(node)
        replace(node, [output, next_mean, next_var, mean, inverse])
        for statistic, following in ((running_mean, next_mean), (running_var, next_var)):
            assert statistic is not None
            add_output(graph, following, f"{statistic.name}{UPDATED}", ir.DataType.FLOAT, [channels])


def follow(build: Builder, statistic: ir.Value | None, measured: ir.Value, momentum: float) -> ir.Value:
    """The running statistic moved to the batch's by the weight `momentum`."""
    return build.op("Add", build.op("Mul", statistic, 1.0 - momentum), build.op("Mul", measured, momentum))


def bessel(build: Builder, activation: ir.Value | None, channels: int) -> ir.Value:
    """n / (n - 1) for n elements a channel, and 1 where a channel has one element only."""
    size = build.op("Cast", build.op("Size", activation), to=int(ir.DataType.FLOAT))
    count = build.op("Div", size, float(channels))
    return build.op("Div", count, build.op("Max", build.op("Sub", count, 1.0), 1.0))
