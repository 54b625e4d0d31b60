"""The forward graph with its gradient, by ONNX Runtime training.

This file is all that knows the engine, which is frozen at 1.19.2: another one has to offer `differentiate` alone.
"""

import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from graphs.check import run_passes
from graphs.losses import append_loss
from graphs.losses.distillation import append_distillation
from graphs.origin import module_of
from graphs.passes.bind_constants import BindConstants
from graphs.passes.pipeline import binding, preparing
from graphs.passes.select_samples import SelectSamples
from toolchain.artifacts import RUNTIME_IR_VERSION, Differentiated, Traced
from toolchain.errors import ModelError
from toolchain.methods.declaration import Method, Selection
from toolchain.models.meta_networks import META

TRAINABLE = {
    "Conv": "conv",
    "Gemm": "linear",
    "BatchNormalization": "batchnorm",
    "LayerNormalization": "layernorm",
}
ROLES = {1: "weight", 2: "bias"}
"""Which input of these operators is which parameter."""


def differentiate(traced: Traced, method: Method, folder: Path) -> Differentiated:
    """Appends loss and gradient; writes the engine's artifacts (models, checkpoint) into `folder`.

    Raises ModelError when the method has nothing to train in this model, or an operator has no gradient.
    """
    trained = trained_parameters(traced, method)
    forward = traced.forward.clone()
    append_loss(forward.graph, method.loss, method.weighs_samples)
    if method.meta_networks is not None:
        append_distillation(forward.graph, _networks(trained), method.meta_networks.distillation)
    run_passes(forward, preparing(method.momentum))
    _generate(_for_engine(forward), traced, trained, folder)
    _mend(folder)
    training = ir.load(folder / "training_model.onnx")
    if method.weighs_samples:
        run_passes(training, (_selecting(method, traced.classes),))
    if method.meta_networks is not None:
        run_passes(training, binding())
        _bind_evaluation(folder / "eval_model.onnx")
    return Differentiated(training, trained, folder)


def _selecting(method: Method, classes: int) -> SelectSamples:
    chosen = method.selection or Selection(share=None)
    threshold = None if chosen.share is None else chosen.share * math.log(classes)
    return SelectSamples(threshold, chosen.weighted, chosen.redundancy, masked=method.update == "driver")


def _networks(trained: tuple[str, ...]) -> list[str]:
    """The modules of the meta networks, whose parameters these are."""
    convolutions = [name for name in trained if name.startswith(META) and name.endswith(".conv.weight")]
    return [name.removesuffix(".conv.weight") for name in convolutions]


def trained_parameters(traced: Traced, method: Method) -> tuple[str, ...]:
    """By name, in the model's order. Raises ModelError where there is none."""
    chosen = {
        value.name
        for node in traced.forward.graph
        if TRAINABLE.get(node.op_type) in method.trains
        for index, value in enumerate(node.inputs)
        if value is not None and ROLES.get(index) in method.parameters and not _skips(method, str(value.name))
    }
    within = "" if method.meta_networks is None else f"{META}."
    trained = tuple(name for name in traced.parameters if name in chosen and name.startswith(within))
    if not trained:
        kinds = " or ".join(sorted(method.trains))
        raise ModelError(f"method {method.name} trains {kinds} layers, and {traced.model} has none: choose another")
    return trained


def _skips(method: Method, parameter: str) -> bool:
    return any(parameter.startswith(f"{module}.") for module in method.skips)


def _for_engine(forward: ir.Model) -> onnx.ModelProto:
    """The proto with the loss as the first output, which is where the engine starts from."""
    outputs = list(forward.graph.outputs)
    forward.graph.outputs[:] = [outputs[1], outputs[0]]
    proto = ir.to_proto(forward)
    proto.ir_version = RUNTIME_IR_VERSION
    return proto


def _generate(forward: onnx.ModelProto, traced: Traced, trained: tuple[str, ...], folder: Path) -> None:
    from onnxruntime.training import artifacts  # loads for seconds, and only this stage needs it

    frozen = [name for name in traced.tensors if name not in trained]
    try:
        with _silenced():
            artifacts.generate_artifacts(
                forward,
                requires_grad=list(trained),
                frozen_params=frozen,
                optimizer=artifacts.OptimType.AdamW,
                artifact_directory=folder,
            )
    except RuntimeError as error:
        raise ModelError(_explanation(str(error), traced)) from error


def _mend(folder: Path) -> None:
    """Two of the engine's files do not load in the engine as it writes them.

    The evaluation model keeps training's extra outputs of BatchNormalization, and newer onnx packages stamp the
    optimizer model with an IR version that the engine does not know.
    """
    for name in ("eval_model.onnx", "optimizer_model.onnx"):
        model = onnx.load(folder / name)
        model.ir_version = RUNTIME_IR_VERSION
        for node in model.graph.node:
            if node.op_type == "BatchNormalization":
                del node.output[1:]
        onnx.save(model, folder / name)


def _bind_evaluation(path: Path) -> None:
    model = ir.load(path)
    run_passes(model, (BindConstants(),))
    ir.save(model, path)


@contextmanager
def _silenced() -> Iterator[None]:
    """The engine's native code logs hundreds of lines to the process's own streams, whatever its log level."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            for stream, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, stream)
                os.close(saved)


def _explanation(message: str, traced: Traced) -> str:
    found = re.search(r"has not been registered: (\w+) for node (\S+)", message)
    if found is None:
        return f"{traced.model} could not be differentiated: {message.strip().splitlines()[-1]}"
    op_type, name = found.groups()
    nodes = [node for node in traced.forward.graph if node.name == name]
    place = f" in module {module_of(nodes[0])}" if nodes else ""
    return (
        f"{traced.model} uses {op_type}{place} (node {name}), which has no gradient: "
        "replace that module, or choose a model without it"
    )
