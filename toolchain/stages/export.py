"""The inference model of a target: BatchNorm folded, operators and opset within what its TensorRT parses."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

from graphs.check import run_passes
from graphs.fold import FoldedWeight, fold_batchnorm
from graphs.origin import module_of
from graphs.passes.lower_layernorm import LowerLayerNorm
from graphs.passes.lower_opset import LowerOpset, NewerOperator
from targets import Target
from toolchain.artifacts import Exported, Traced
from toolchain.driver.refit import BatchNorm, Recipe, RefitEntry, fold
from toolchain.errors import TargetError

IR_VERSION = 8
"""The ONNX IR version that came with opset 17."""


def export(traced: Traced, target: Target) -> Exported:
    """Raises TargetError when the model needs operators that the target does not parse."""
    model = traced.forward.clone()
    refit = tuple(_entry(weight) for weight in fold_batchnorm(model.graph, traced.tensors))
    RemoveUnusedNodesPass()(model)
    _fill(model.graph, fold(Recipe(refit), traced.tensors))
    if target.operators is not None:
        _within_operators(model, target.operators, target, traced.model)
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


def _within_operators(model: ir.Model, operators: frozenset[str], target: Target, name: str) -> None:
    """Expresses LayerNorm by what the parser takes, if need be; all else that it does not take is refused."""
    if "LayerNormalization" not in operators:
        run_passes(model, [LowerLayerNorm()])
    foreign = [node for node in model.graph if node.domain or node.op_type not in operators]
    if foreign:
        first, others = foreign[0], len(foreign) - 1
        more = f" (and {others} more such {'nodes' if others > 1 else 'node'})" if others else ""
        raise TargetError(
            f"TensorRT {target.tensorrt} of {target.name} does not parse the operator {first.op_type}, and {name} uses "
            f"it in module {module_of(first)}{more}: replace that module, or choose another target"
        )


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
