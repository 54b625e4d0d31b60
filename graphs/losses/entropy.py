import numpy as np
import onnx_ir as ir

from graphs.build import Builder, add_input

SAMPLE_WEIGHTS = "sample_weights"


def mean_entropy(build: Builder, logits: ir.Value) -> ir.Value:
    """The mean over the batch of the entropy, in nats, of softmax(logits).

    Source: TENT (Wang et al., ICLR 2021) equation 1.
    """
    return build.op("ReduceMean", entropies(build, logits), keepdims=0)


def weighted_entropy(build: Builder, logits: ir.Value) -> ir.Value:
    """The sum of the samples' entropies, each times its weight: the input `sample_weights` float32 [N].

    A constant for the gradient. Source: EATA (Niu et al., ICML 2022) equation 2.
    """
    weights = add_input(build.graph, SAMPLE_WEIGHTS, ir.DataType.FLOAT, ["N"])
    return build.op("ReduceSum", build.op("Mul", entropies(build, logits), weights), keepdims=0)


def entropies(build: Builder, logits: ir.Value) -> ir.Value:
    """Of softmax(logits) [N, C] in nats, [N]."""
    logarithm = build.op("LogSoftmax", logits, axis=1)
    information = build.op("Mul", build.op("Softmax", logits, axis=1), logarithm)
    return build.op("Neg", build.op("ReduceSum", information, np.array([1]), keepdims=0))
