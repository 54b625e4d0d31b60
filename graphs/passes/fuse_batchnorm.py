from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, Builder, add_output, replace
from graphs.passes.lower_batchnorm import bessel, follow
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.schedule import UPDATED


@dataclass(frozen=True)
class FuseBatchNorm(Rewrite):
    """BatchNorm on batch statistics measures its input, then normalises it in place.

    The running statistics follow as in PyTorch: the running variance follows the unbiased one.
    momentum: the weight of the new batch.
    """

    momentum: float

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "BatchNormInternal")
        for node in found:
            self._fuse(graph, node)
        return bool(found)

    def _fuse(self, graph: ir.Graph, node: ir.Node) -> None:
        activation, scale, bias, running_mean, running_var = node.inputs
        assert scale is not None and scale.shape is not None
        channels = int(scale.shape.numpy()[0])
        build = Builder(graph)
        mean, variance = build.own("ChannelMoments", 2, activation)
        deviation = build.op("Sqrt", build.op("Add", variance, node.attributes["epsilon"].as_float()))
        inverse = build.op("Reciprocal", deviation)
        (output,) = build.own("BatchNormalize", 1, activation, scale, bias, mean, inverse)
        late = build.marked(EARLY)
        next_mean = follow(late, running_mean, mean, self.momentum)
        unbiased = late.op("Mul", variance, bessel(late, activation, channels))
        next_var = follow(late, running_var, unbiased, self.momentum)
        build.before(node)
        replace(node, [output, next_mean, next_var, mean, inverse])
        for statistic, following in ((running_mean, next_mean), (running_var, next_var)):
            assert statistic is not None
            add_output(graph, following, f"{statistic.name}{UPDATED}", ir.DataType.FLOAT, [channels])
