"""Operators on whole tensors take their inputs' memory for as many of their outputs as the compiler thinks they do."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from graphs.build import OWN_DOMAIN
from graphs.ops.aliases import IN_PLACE
from tests.kernels.harness import kernels
from tests.kernels.sparse import encode

X = np.arange(-4, 4, dtype=np.float32).reshape(1, 2, 2, 2)
ONE, PAIR, BITS = np.ones(1, np.float32), np.full(2, 3, np.float32), np.array([0b10100101], np.uint8)

CASES: dict[str, tuple[list[np.ndarray], int, dict[str, Any]]] = {
    "AddInto": ([X, X], 1, {}),
    "AddStrided": ([X, X[:, :, ::2, ::2]], 1, {"strides": (2, 2)}),
    "AddMasked": ([X, X.reshape(-1)[:4], BITS], 1, {}),
    "ApplyMask": ([X, BITS], 1, {}),
    "ReluPack": ([X], 2, {}),
    "BatchNormalize": ([X, PAIR, PAIR, PAIR, PAIR], 1, {}),
    "BatchNormalizeRelu": ([X, PAIR, PAIR, PAIR, PAIR], 2, {}),
    "BatchNormGradient": ([X, X.reshape(-1), encode(np.ones(8, bool)), PAIR, PAIR, BITS], 3, {}),
    "AdamUpdate": ([X, X, X, X + 10, ONE, ONE, ONE], 3, {"beta1": 0.5, "beta2": 0.5, "epsilon": 1.0, "offset": 0}),
    "MomentumUpdate": ([X, X, X, ONE, ONE], 2, {"momentum": 0.5, "nesterov": 0, "offset": 0}),
}


@pytest.mark.parametrize("op_type", CASES)
def test_what_is_read_later_has_changed(op_type: str) -> None:
    """Inputs are copied, the operator runs on the copies, and then the copies are read again."""
    inputs, count, attributes = CASES[op_type]
    taken = IN_PLACE[op_type]
    names, made = [f"x{number}" for number in range(len(inputs))], [f"y{number}" for number in range(count)]
    nodes = [
        *(helper.make_node("Concat", [name], [f"{name}.copy"], axis=0) for name in names),
        helper.make_node(op_type, [f"{name}.copy" for name in names], made, domain=OWN_DOMAIN, **attributes),
        *(helper.make_node("Concat", [name], [f"{name}.seen"], axis=0) for name in made[:taken]),
        *(helper.make_node("Concat", [f"{name}.copy"], [f"{name}.later"], axis=0) for name in names[:taken]),
    ]
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in zip(names, inputs, strict=True)
    ]
    results = [*(f"{name}.seen" for name in made[:taken]), *(f"{name}.later" for name in names[:taken])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    graph = helper.make_graph(nodes, op_type, described, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(OWN_DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.enable_mem_reuse = False
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.register_custom_ops_library(str(kernels()))
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()
    found = onnxruntime.InferenceSession(model, options).run(None, dict(zip(names, inputs, strict=True)))
    for before, seen, later in zip(inputs, found[:taken], found[taken:], strict=False):
        assert not np.array_equal(later, before)
        np.testing.assert_array_equal(later, seen)
