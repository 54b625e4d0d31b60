"""A two-layer model as the graphs that a bundle holds: one adaptation step, and inference. Written by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IN, HIDDEN, CLASSES, SIDE = 48, 16, 5, 4
EPSILON = 1e-5
MOMENTUM = 0.9

Spec = tuple[str, str, str, list[Any]]

STEP_INPUTS: list[Spec] = [
    ("images", "images", "float32", ["N", 3, SIDE, SIDE]),
    ("prune_ratios", "prune_ratios", "float32", [2]),
    ("learning_rate", "learning_rate", "float32", [1]),
    ("first.weight", "parameter", "float32", [HIDDEN, IN]),
    ("second.weight", "parameter", "float32", [CLASSES, HIDDEN]),
    ("first.bias", "frozen", "float32", [HIDDEN]),
    ("momentum.first.weight", "moment", "float32", [HIDDEN, IN]),
    ("momentum.second.weight", "moment", "float32", [CLASSES, HIDDEN]),
    ("norm.running_mean", "statistic", "float32", [HIDDEN]),
    ("norm.running_var", "statistic", "float32", [HIDDEN]),
    ("sgd.step", "counter", "float32", [1]),
]
UPDATED = [name for name, role, _, _ in STEP_INPUTS if role in ("parameter", "moment", "statistic", "counter")]
STEP_OUTPUTS: list[Spec] = [
    ("logits", "logits", "float32", ["N", CLASSES]),
    ("loss", "loss", "float32", [1]),
    ("grad_rms", "grad_rms", "float32", [2]),
    ("kept_elements", "kept_elements", "int64", [2]),
    *((f"{name}.updated", "state", dtype, shape) for name, _, dtype, shape in STEP_INPUTS if name in UPDATED),
]

_CONSTANTS = {
    "axis0": np.array([0]), "axis1": np.array([1]), "flat": np.array([-1]), "i0": np.array([0]), "i1": np.array([1]),
    "zero": np.float32(0), "one": np.float32(1), "one64": np.float64(1), "rho": np.float32(MOMENTUM),
    "old": np.float32(0.9), "new": np.float32(0.1),
}  # fmt: skip


def step_model() -> onnx.ModelProto:
    """images → logits, entropy loss, pruned gradients, SGD with momentum, running statistics."""
    nodes = [*_forward(), *_prune("x", "i0", "xk", "k0"), *_prune("h", "i1", "hk", "k1"), *_backward(), *_update()]
    return _model(nodes, STEP_INPUTS, STEP_OUTPUTS, _CONSTANTS)


def infer_model(weights: "dict[str, np.ndarray]") -> onnx.ModelProto:
    """images → logits, from the folded weights first.w, first.b and second.w."""
    nodes = [
        _node("Flatten", "images", "x"),
        _node("Gemm", "x first.w first.b", "z", transB=1),
        _node("Relu", "z", "h"),
        _node("Gemm", "h second.w", "logits", transB=1),
    ]
    return _model(nodes, STEP_INPUTS[:1], STEP_OUTPUTS[:1], weights)


def _forward() -> Sequence[onnx.NodeProto]:
    return [
        _node("Flatten", "images", "x"),
        _node("Gemm", "x first.weight first.bias", "z", transB=1),
        _node("Relu", "z", "h"),
        _node("Gemm", "h second.weight", "logits", transB=1),
        _node("Softmax", "logits", "p"),
        _node("LogSoftmax", "logits", "logp"),
        _node("Mul", "p logp", "plogp"),
        _node("ReduceSum", "plogp axis1", "negative_entropy", keepdims=1),
        _node("Neg", "negative_entropy", "entropy"),
        _node("ReduceMean", "entropy", "mean_entropy", keepdims=0),
        _node("Reshape", "mean_entropy flat", "loss"),
    ]


def _prune(name: str, index: str, pruned: str, kept: str) -> Sequence[onnx.NodeProto]:
    return [
        _node("Reshape", f"{name} flat", f"{name}.flat"),
        _node("Abs", f"{name}.flat", f"{name}.abs"),
        _node("Size", name, f"{name}.size"),
        _node("Cast", f"{name}.size", f"{name}.n", to=TensorProto.DOUBLE),
        _node("Gather", f"prune_ratios {index}", f"{name}.p32"),
        _node("Cast", f"{name}.p32", f"{name}.p64", to=TensorProto.DOUBLE),
        _node("Sub", f"one64 {name}.p64", f"{name}.keep"),
        _node("Mul", f"{name}.n {name}.keep", f"{name}.k64"),
        _node("Floor", f"{name}.k64", f"{name}.floor"),
        _node("Cast", f"{name}.floor", kept, to=TensorProto.INT64),
        _node("TopK", f"{name}.abs {kept}", f"{name}.top {name}.where"),
        _node("Gather", f"{name}.flat {name}.where", f"{name}.values"),
        _node("Mul", f"{name}.flat zero", f"{name}.zeros"),
        _node("ScatterElements", f"{name}.zeros {name}.where {name}.values", f"{name}.sparse"),
        _node("Shape", name, f"{name}.shape"),
        _node("Reshape", f"{name}.sparse {name}.shape", pruned),
    ]


def _backward() -> Sequence[onnx.NodeProto]:
    return [
        _node("Concat", "k0 k1", "kept_elements", axis=0),
        _node("Shape", "images", "shape"),
        _node("Gather", "shape i0", "batch64"),
        _node("Cast", "batch64", "batch", to=TensorProto.FLOAT),
        _node("Add", "logp entropy", "slope"),
        _node("Mul", "p slope", "weighted"),
        _node("Div", "weighted batch", "negative_dlogits"),
        _node("Neg", "negative_dlogits", "dlogits"),
        _node("Gemm", "dlogits hk", "grad.second.weight", transA=1),
        _node("MatMul", "dlogits second.weight", "dh"),
        _node("Greater", "z zero", "positive"),
        _node("Where", "positive dh zero", "dz"),
        _node("Gemm", "dz xk", "grad.first.weight", transA=1),
        *_rms("first"),
        *_rms("second"),
        _node("Concat", "rms.first rms.second", "grad_rms", axis=0),
    ]


def _rms(layer: str) -> Sequence[onnx.NodeProto]:
    return [
        _node("Mul", f"grad.{layer}.weight grad.{layer}.weight", f"square.{layer}"),
        _node("ReduceMean", f"square.{layer}", f"mean.{layer}", keepdims=0),
        _node("Sqrt", f"mean.{layer}", f"root.{layer}"),
        _node("Reshape", f"root.{layer} flat", f"rms.{layer}"),
    ]


def _update() -> Sequence[onnx.NodeProto]:
    return [
        *_sgd("first.weight"),
        *_sgd("second.weight"),
        _node("Add", "sgd.step one", "sgd.step.updated"),
        _node("ReduceMean", "z", "mu", axes=[0], keepdims=0),
        _node("Sub", "z mu", "centred"),
        _node("Mul", "centred centred", "squares"),
        _node("ReduceMean", "squares", "variance", axes=[0], keepdims=0),
        *_average("norm.running_mean", "mu"),
        *_average("norm.running_var", "variance"),
    ]


def _sgd(name: str) -> Sequence[onnx.NodeProto]:
    return [
        _node("Mul", f"momentum.{name} rho", f"decayed.{name}"),
        _node("Add", f"decayed.{name} grad.{name}", f"momentum.{name}.updated"),
        _node("Mul", f"momentum.{name}.updated learning_rate", f"move.{name}"),
        _node("Sub", f"{name} move.{name}", f"{name}.updated"),
    ]


def _average(name: str, value: str) -> Sequence[onnx.NodeProto]:
    return [
        _node("Mul", f"{name} old", f"{name}.old"),
        _node("Mul", f"{value} new", f"{name}.new"),
        _node("Add", f"{name}.old {name}.new", f"{name}.updated"),
    ]


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def _model(nodes: Sequence[onnx.NodeProto], inputs: list[Spec], outputs: list[Spec], constants: Any) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", _values(inputs), _values(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(specs: list[Spec]) -> list[onnx.ValueInfoProto]:
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return [helper.make_tensor_value_info(name, kinds[dtype], shape) for name, _, dtype, shape in specs]
