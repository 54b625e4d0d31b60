"""Operators that say so take their input's memory for their output; all of it is seen by who reads the input later."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from graphs.build import OWN_DOMAIN
from graphs.ops.aliases import IN_PLACE
from tests.kernels.harness import kernels

BITS = np.array([0b10100101], np.uint8)
OTHERS: dict[str, list[np.ndarray]] = {"ApplyMask": [BITS], "AddMasked": [np.ones(4, np.float32), BITS]}


@pytest.mark.parametrize("op_type", OTHERS)
def test_the_output_is_the_input(op_type: str) -> None:
    """x -> copy -> operator -> y, and the copy is read again behind the operator."""
    assert IN_PLACE[op_type] == 1
    others = OTHERS[op_type]
    names = [f"other{number}" for number in range(len(others))]
    nodes = [
        helper.make_node("Concat", ["x"], ["copy"], axis=0),
        helper.make_node(op_type, ["copy", *names], ["y.own"], domain=OWN_DOMAIN),
        helper.make_node("Concat", ["y.own"], ["y"], axis=0),
        helper.make_node("Concat", ["copy"], ["later"], axis=0),
    ]
    inputs = {"x": np.arange(1, 9, dtype=np.float32), **dict(zip(names, others, strict=True))}
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in inputs.items()
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "later")]
    graph = helper.make_graph(nodes, op_type, described, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(OWN_DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.enable_mem_reuse = False
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.register_custom_ops_library(str(kernels()))
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()
    y, later = onnxruntime.InferenceSession(model, options).run(None, inputs)
    assert not np.array_equal(y, inputs["x"])
    np.testing.assert_array_equal(y, later)
