"""A PyTorch module as an ONNX graph in eval mode, with BatchNorm and the names of parameters kept."""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch
from onnx_ir.passes.common import RemoveUnusedOpsetsPass
from torch import nn

from graphs.check import run_passes
from graphs.origin import module_of
from graphs.passes.pipeline import tidying
from toolchain.artifacts import Traced
from toolchain.errors import ModelError
from toolchain.models.registry import LoadedModel

OPSET = 18


def trace(model: LoadedModel) -> Traced:
    """Traces `model` with a free batch dimension N.

    Raises ModelError when torch.export refuses the module, and when its output is not logits [N, C].
    """
    forward = _export(model)
    tensors = {name: value.detach().numpy() for name, value in model.module.state_dict().items()}
    _fold_constants(forward, frozenset(tensors))
    _drop_unnamed_biases(forward, frozenset(tensors))
    run_passes(forward, tidying())
    RemoveUnusedOpsetsPass()(forward)
    used = {name: tensors[name] for name in forward.graph.initializers if name in tensors}
    trainable = tuple(name for name, _ in model.module.named_parameters() if name in used)
    _check_norms(forward.graph, frozenset(tensors))
    classes = _classes(forward.graph.outputs, model.name)
    return Traced(model.name, model.image_size, classes, model.preprocessing, forward, used, trainable)


def _export(model: LoadedModel) -> ir.Model:
    sample = torch.zeros(2, 3, model.image_size, model.image_size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            program = _torch_export(model.module, sample)
    except Exception as error:
        cause = [*str(error.__cause__ or error).strip().splitlines(), repr(error)][0]
        raise ModelError(f"{model.name} could not be traced by torch.export: {cause}") from error
    return program


def _torch_export(module: nn.Module, sample: torch.Tensor) -> ir.Model:
    program = torch.onnx.export(
        module,
        (sample,),
        dynamo=True,
        optimize=False,
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    return cast(ir.Model, cast(Any, program).model)


def _fold_constants(model: ir.Model, tensors: frozenset[str]) -> None:
    """Folds what depends on no parameter's value, so that every parameter keeps its name and its use."""

    def foldable(node: ir.Node) -> bool:
        reads_parameter = any(value is not None and value.name in tensors for value in node.inputs)
        return node.op_type == "Shape" or not reads_parameter

    onnxscript.optimizer.fold_constants(model, onnx_shape_inference=True, should_fold=foldable)


def _drop_unnamed_biases(model: ir.Model, tensors: frozenset[str]) -> None:
    """The exporter gives a convolution without bias one of zeros, which would become a frozen parameter."""
    for node in model.graph:
        if node.op_type == "Conv" and len(node.inputs) == 3 and _is_zero_constant(node.inputs[2], tensors):
            node.resize_inputs(2)


def _is_zero_constant(value: ir.Value | None, tensors: frozenset[str]) -> bool:
    if value is None or value.name in tensors or value.const_value is None:
        return False
    return not np.any(value.const_value.numpy())


def _check_norms(graph: ir.Graph, tensors: frozenset[str]) -> None:
    for node in graph:
        unnamed = [value for value in node.inputs[1:] if value is not None and value.name not in tensors]
        if node.op_type == "BatchNormalization" and unnamed:
            raise ModelError(
                f"the BatchNorm in module {module_of(node)} lacks weight and bias, or running statistics: "
                "give it affine=True and track_running_stats=True"
            )


def _classes(outputs: Sequence[ir.Value], model: str) -> int:
    if len(outputs) != 1:
        raise ModelError(f"{model} returns {len(outputs)} tensors: expected logits [N, classes] alone")
    output = outputs[0]
    if output.shape is None or len(output.shape) != 2 or not isinstance(output.shape[1], int):
        raise ModelError(f"{model} returns a tensor of shape {output.shape}: expected logits [N, classes]")
    return output.shape[1]
