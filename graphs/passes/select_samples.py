from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, add_input, add_output, producer
from graphs.gate import active_input
from graphs.losses.entropy import SAMPLE_WEIGHTS, entropies
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import UPDATED

SAMPLE_MASK = "sample_mask"
PROBABILITIES = "probabilities"
MEMORY = 0.9


@dataclass(frozen=True)
class SelectSamples(Rewrite):
    """The weight of each sample in the entropy is computed from the logits; it is an output, and no longer an input.

    Kept are samples with an entropy below `threshold` (None: all) and, with `redundancy`, with probabilities whose
    cosine to their moving average, the state `probabilities` float32 [C], is below that. Where `masked`, the input
    `sample_mask` float32 [N] excludes others. weighted: by exp(threshold - entropy). Weights are divided by how many
    samples are kept. A step that is not `active` weighs all equally.
    Source: EATA (Niu et al., ICML 2022) equations 3 to 6.
    """

    threshold: float | None
    weighted: bool = False
    redundancy: float | None = None
    masked: bool = False

    def rewrite(self, graph: ir.Graph) -> bool:
        fed = next(value for value in graph.inputs if value.name == SAMPLE_WEIGHTS)
        logits = next(value for value in graph.outputs if value.name == "logits")
        active, build = active_input(graph), Builder(graph)
        ones = build.op("Expand", 1.0, build.op("Shape", logits, start=0, end=1))
        batch = build.op("ReduceSum", ones, keepdims=1)
        entropy = entropies(build, logits)
        kept = self._kept(build, logits, entropy, ones)
        count = build.op("ReduceSum", kept, keepdims=1)
        weights = build.op("Div", self._weigh(build, kept, entropy), build.op("Max", count, 1.0))
        equal = build.op("Div", ones, batch)
        chosen = build.op("Where", build.op("Cast", active, to=int(ir.DataType.BOOL)), weights, equal)
        build.after(producer(logits))
        fed.replace_all_uses_with(chosen)
        graph.inputs.remove(fed)
        add_output(graph, chosen, SAMPLE_WEIGHTS, ir.DataType.FLOAT, ["N"])
        return True

    def _kept(self, build: Builder, logits: ir.Value, entropy: ir.Value, ones: ir.Value) -> ir.Value:
        """1 for each sample that is kept, else 0, float32 [N]."""
        kept = ones
        if self.masked:
            kept = add_input(build.graph, SAMPLE_MASK, ir.DataType.FLOAT, ["N"])
        if self.threshold is not None:
            kept = build.op("Mul", kept, _as_float(build, build.op("Less", entropy, self.threshold)))
        return kept if self.redundancy is None else self._without_redundant(build, logits, kept, self.redundancy)

    def _weigh(self, build: Builder, kept: ir.Value, entropy: ir.Value) -> ir.Value:
        if not self.weighted or self.threshold is None:
            return kept
        return build.op("Mul", kept, build.op("Exp", build.op("Sub", self.threshold, entropy)))

    def _without_redundant(self, build: Builder, logits: ir.Value, kept: ir.Value, limit: float) -> ir.Value:
        classes = int(str(logits.shape.dims[1])) if logits.shape is not None else 0
        average = add_input(build.graph, PROBABILITIES, ir.DataType.FLOAT, [classes])
        now = build.op("Softmax", logits, axis=1)
        kept = build.op("Mul", kept, _as_float(build, build.op("Less", _cosine(build, now, average), limit)))
        following = _follow(build, average, now, kept)
        add_output(build.graph, following, PROBABILITIES + UPDATED, ir.DataType.FLOAT, [classes])
        return kept


def _cosine(build: Builder, probabilities: ir.Value, average: ir.Value) -> ir.Value:
    """|cos| of each sample's probabilities and their average, float32 [N]; 0 to an average of zeros."""
    axis = np.array([1])
    products = build.op("ReduceSum", build.op("Mul", probabilities, average), axis, keepdims=0)
    lengths = build.op("Mul", build.op("ReduceL2", probabilities, axis, keepdims=0), build.op("ReduceL2", average))
    return build.op("Abs", build.op("Div", products, build.op("Max", lengths, 1e-8)))


def _follow(build: Builder, average: ir.Value, probabilities: ir.Value, kept: ir.Value) -> ir.Value:
    """The moving average after the kept samples' mean, which is the first one's own; as it was where none is kept."""
    count = build.op("ReduceSum", kept, keepdims=1)
    column = build.op("Reshape", kept, np.array([-1, 1]))
    total = build.op("ReduceSum", build.op("Mul", probabilities, column), np.array([0]), keepdims=0)
    mean = build.op("Div", total, build.op("Max", count, 1.0))
    begun = build.op("Cast", build.op("ReduceSum", average, keepdims=1), to=int(ir.DataType.BOOL))
    mixed = build.op("Add", build.op("Mul", average, MEMORY), build.op("Mul", mean, 1.0 - MEMORY))
    moved = build.op("Where", begun, mixed, mean)
    follows = build.op("Mul", build.op("Min", count, 1.0), active_input(build.graph))
    return build.op("Where", build.op("Cast", follows, to=int(ir.DataType.BOOL)), moved, average)


def _as_float(build: Builder, flags: ir.Value) -> ir.Value:
    return build.op("Cast", flags, to=int(ir.DataType.FLOAT))
