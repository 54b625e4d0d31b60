import math

import onnx_ir as ir

from graphs.build import Builder
from graphs.losses.entropy import entropies

CERTAIN = 0.4
"""Certain is a sample whose entropy is below this share of ln C, the most that it can be."""


def confident_entropy(build: Builder, logits: ir.Value) -> ir.Value:
    """The entropy, in nats, of the certain samples, summed and divided by N.

    Source: EcoTTA (Song et al., CVPR 2023) equation 2.
    """
    assert logits.shape is not None
    limit = CERTAIN * math.log(int(str(logits.shape[1])))
    entropy = entropies(build, logits)
    certain = build.op("Where", build.op("Less", entropy, limit), entropy, 0.0)
    return build.op("ReduceMean", certain, keepdims=0)
