"""Cross-entropy with probabilities q that are fed, and are constants for the gradient, from either side."""

import numpy as np
import onnx_ir as ir

from graphs.build import Builder, add_input

TARGETS, LOG_TARGETS = "targets", "log_targets"


def cross_entropy_to(build: Builder, logits: ir.Value) -> ir.Value:
    """-mean sum q log p, with p = softmax(logits) and the input `targets` float32 [N, C] = q, or a multiple of it.

    Source: CoTTA (Wang et al., CVPR 2022) equation 1.
    """
    return _minus_mean(build, logits, TARGETS, build.op("LogSoftmax", logits, axis=1))


def cross_entropy(build: Builder, logits: ir.Value) -> ir.Value:
    """-mean sum p log q, with the input `log_targets` float32 [N, C] = log q, or a multiple of it."""
    return _minus_mean(build, logits, LOG_TARGETS, build.op("Softmax", logits, axis=1))


def _minus_mean(build: Builder, logits: ir.Value, name: str, computed: ir.Value) -> ir.Value:
    assert logits.shape is not None
    classes = int(str(logits.shape.dims[1]))
    constant = add_input(build.graph, name, ir.DataType.FLOAT, ["N", classes])
    each = build.op("ReduceSum", build.op("Mul", computed, constant), np.array([1]), keepdims=0)
    return build.op("Neg", build.op("ReduceMean", each, keepdims=0))
