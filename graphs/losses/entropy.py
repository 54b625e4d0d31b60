import numpy as np
import onnx_ir as ir

from graphs.build import Builder


def append_entropy(graph: ir.Graph) -> None:
    """Adds the output `loss` float32 []: the mean over the batch of the entropy, in nats, of softmax(logits).

    Source: TENT (Wang et al., ICLR 2021) equation 1.
    """
    logits = graph.outputs[0]
    build = Builder(graph)
    logarithm = build.op("LogSoftmax", logits, axis=1)
    information = build.op("Mul", build.op("Softmax", logits, axis=1), logarithm)
    entropy = build.op("Neg", build.op("ReduceSum", information, np.array([1]), keepdims=0))
    loss = build.op("ReduceMean", entropy, keepdims=0, name="loss")
    build.at_end()
    loss.shape, loss.type = ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(loss)
