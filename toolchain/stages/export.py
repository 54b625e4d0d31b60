"""The inference model of a target: BatchNorm folded, opset within what its TensorRT parses."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from graphs.fold import FoldedWeight, fold_batchnorm
from targets import Target
from toolchain.artifacts import Exported, Traced
from toolchain.driver.refit import BatchNorm, Recipe, RefitEntry, fold
from toolchain.errors import TargetError

IR_VERSION = 8
"""The ONNX IR version that came with opset 17."""


def export(traced: Traced, target: Target) -> Exported:
    """Raises TargetError when the model needs operators newer than the target parses."""
    model = traced.forward.clone()
    refit = tuple(_entry(weight) for weight in fold_batchnorm(model.graph))
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
    proto = ir.to_proto(model)
    for node in proto.graph.node:
        del node.metadata_props[:]
    if model.graph.opset_imports[""] > target.inference_opset:
        proto = _converted(proto, target, name)
    proto.ir_version = IR_VERSION
    return proto


def _converted(proto: onnx.ModelProto, target: Target, name: str) -> onnx.ModelProto:
    del proto.graph.value_info[:]
    try:
        converted = onnx.version_converter.convert_version(proto, target.inference_opset)
        _drop_newer_attributes(converted.graph, target.inference_opset)
        onnx.checker.check_model(converted)
        return converted
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise TargetError(
            f"{name} cannot be written in ONNX opset {target.inference_opset}, the newest that {target.name} "
            f"parses: {str(error).strip().splitlines()[-1]}"
        ) from error


def _drop_newer_attributes(graph: onnx.GraphProto, opset: int) -> None:
    """The converter leaves attributes in place that the older operator does not have; only defaults are among them."""
    for node in graph.node:
        known = onnx.defs.get_schema(node.op_type, opset, node.domain).attributes
        kept = [attribute for attribute in node.attribute if attribute.name in known]
        del node.attribute[:]
        node.attribute.extend(kept)
