import math

import numpy as np
import onnx_ir as ir

from graphs.build import Builder

CERTAIN = 0.4
"""Certain is a sample whose entropy is below this share of ln C, the most that it can be."""


def append_confident_entropy(graph: ir.Graph) -> None:
    """Adds the output `loss` float32 []: the entropy, in nats, of the certain samples, summed and divided by N.

    Source: EcoTTA (Song et al., CVPR 2023) equation 2.
    """
    logits = graph.outputs[0]
    assert logits.shape is not None
    limit = CERTAIN * math.log(int(str(logits.shape[1])))
    build = Builder(graph)
    logarithm = build.op("LogSoftmax", logits, axis=1)
    information = build.op("Mul", build.op("Softmax", logits, axis=1), logarithm)
    entropy = build.op("Neg", build.op("ReduceSum", information, np.array([1]), keepdims=0))
    certain = build.op("Where", build.op("Less", entropy, limit), entropy, 0.0)
    loss = build.op("ReduceMean", certain, keepdims=0, name="loss")
    build.at_end()
    loss.shape, loss.type = ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(loss)
