"""The inference model of a target: BatchNorm folded, opset within what its TensorRT parses."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

from graphs.fold import FoldedWeight, fold_batchnorm
from graphs.passes.lower_opset import LowerOpset, NewerOperator
from targets import Target
from toolchain.artifacts import Exported, Traced
from toolchain.driver.refit import BatchNorm, Recipe, RefitEntry, fold
from toolchain.errors import TargetError

IR_VERSION = 8
"""The ONNX IR version that came with opset 17."""


def export(traced: Traced, target: Target) -> Exported:
    """Raises TargetError when the model needs operators newer than the target parses."""
    model = traced.forward.clone()
    refit = tuple(_entry(weight) for weight in fold_batchnorm(model.graph, traced.tensors))
    RemoveUnusedNodesPass()(model)
    _fill(model.graph, fold(Recipe(refit), traced.tensors))
    return Exported(_within_opset(model, target, traced.model), refit)


def _entry(weight: FoldedWeight) -> RefitEntry:
    norm = weight.norm
    batchnorm = None
    if norm is not None:
        batchnorm = BatchNorm(norm.running_mean, norm.running_var, norm.epsilon, norm.weight, norm.bias)
    return RefitEntry(weight.name, weight.kind, weight.shape, weight.parameter, batchnorm)


def _fill(graph: ir.Graph, values: Mapping[str, np.ndarray]) -> None:
    for name, array in values.items():
        graph.initializers[name].const_value = ir.tensor(array, name=name)


def _within_opset(model: ir.Model, target: Target, name: str) -> onnx.ModelProto:
    try:
        LowerOpset(target.inference_opset)(model)
    except NewerOperator as error:
        raise TargetError(
            f"{target.name} parses ONNX up to opset {target.inference_opset}, and {name} uses {error}, which is newer: "
            "replace that module, or choose another target"
        ) from error
    ClearMetadataAndDocStringPass()(model)
    proto = ir.to_proto(model)
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto)
    return proto
