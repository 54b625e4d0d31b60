"""The folder that a device executes: graphs, parameters, recorded results and a copy of the driver."""

import dataclasses
import functools
import json
import platform
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

import toolchain
import toolchain.driver
import toolchain.errors
from graphs import moments
from graphs.kernels.build import LIBRARY, PLATFORMS, library
from graphs.moments import Terms, find_timeline
from graphs.ops import inlined, with_own_operators
from graphs.passes.schedule import UPDATED
from graphs.saved import find_value_bits
from targets import Target
from toolchain import __version__
from toolchain.artifacts import RUNTIME_IR_VERSION, Differentiated, Exported, Lowered, Rewritten, Traced
from toolchain.driver.bundle import PARAMETERS, file_facts
from toolchain.driver.manifest import (
    FORMAT,
    Condition,
    InferFacts,
    Layer,
    Manifest,
    MethodFacts,
    ModelFacts,
    Moment,
    ProbeFacts,
    Saved,
    StepFacts,
    Store,
    TensorFacts,
    manifest_text,
)
from toolchain.driver.tensors import write_tensors
from toolchain.methods.declaration import Method

STEP = "adapt/step-portable.onnx"
NATIVE = "adapt/step.onnx"
HERE = f"{sys.platform}-{platform.machine()}"
INFER = "infer/model.onnx"
RECIPE = "infer/tensorrt.json"
REFERENCE = "reference/step.npz"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user chose beside model, method and target. half: kept values in half precision."""

    batch: int
    memory_budget: int | None
    half: bool = False


def bundle(
    folder: Path,
    traced: Traced,
    differentiated: Differentiated,
    rewritten: Rewritten,
    lowered: Lowered,
    fused: Lowered,
    exported: Exported,
    method: Method,
    target: Target,
    settings: Settings,
) -> Manifest:
    """Writes all but the recorded results into the empty `folder`; returns its manifest, yet to be sealed."""
    for part in ("adapt", "infer", "ort-training", "reference"):
        (folder / part).mkdir(parents=True)
    describe = functools.partial(_write_step, folder, traced, rewritten, differentiated.trained, settings)
    portable = describe(STEP, inlined(lowered.step), lowered)
    native = describe(NATIVE, with_own_operators(fused.step), fused)
    kernels = _copy_kernels(folder, target)
    onnx.save(exported.infer, folder / INFER)
    _write_recipe(folder / RECIPE, exported, target)
    _write_training_artifacts(folder / "ort-training", differentiated, rewritten)
    parameters = {name: np.ascontiguousarray(array, np.float32) for name, array in traced.tensors.items()}
    write_tensors(folder / PARAMETERS, parameters, {})
    _copy_driver(folder)
    native = dataclasses.replace(native, compact_places=True, kernels=kernels)
    return _manifest(traced, rewritten, portable, native, method, target, settings)


def seal(folder: Path, manifest: Manifest) -> None:
    """Writes manifest.json with the SHA-256 of every other file."""
    complete = dataclasses.replace(manifest, files=file_facts(folder))
    (folder / "manifest.json").write_text(manifest_text(complete), encoding="utf-8")


def _save(model: ir.Model, path: Path) -> None:
    ClearMetadataAndDocStringPass()(model)
    model.ir_version = RUNTIME_IR_VERSION
    ir.save(model, path)


def _write_recipe(path: Path, exported: Exported, target: Target) -> None:
    refit = [dataclasses.asdict(entry) for entry in exported.refit]
    recipe = {"input": "images", "output": "logits", "opset": target.inference_opset, "precision": target.precision}
    path.write_text(json.dumps({**recipe, "refit": refit}, indent=1) + "\n", encoding="utf-8")


def _write_training_artifacts(folder: Path, differentiated: Differentiated, rewritten: Rewritten) -> None:
    for name in ("eval_model.onnx", "optimizer_model.onnx", "checkpoint"):
        shutil.copy(differentiated.folder / name, folder / name)
    _save(inlined(rewritten.training), folder / "training_model.onnx")
    _save(with_own_operators(rewritten.training), folder / "training_model_native.onnx")


def _copy_kernels(folder: Path, target: Target) -> dict[str, str]:
    """The native kernels for the target and for this machine, by platform, relative to `folder`."""
    chosen = {}
    for system in sorted({target.platform, HERE} & set(PLATFORMS)):
        name = f"kernels/{system}/{LIBRARY}"
        (folder / name).parent.mkdir(parents=True)
        shutil.copy(library(system), folder / name)
        chosen[system] = name
    return chosen


def _copy_driver(folder: Path) -> None:
    """The driver as BUNDLE/driver/toolchain/driver, so that its imports read the same here and there."""
    package = folder / "driver" / "toolchain"
    (package / "driver").mkdir(parents=True)
    for module in (toolchain, toolchain.errors):
        shutil.copy(str(module.__file__), package)
    source = Path(str(toolchain.driver.__file__)).parent
    for path in sorted(source.glob("*.py")):
        shutil.copy(path, package / "driver")
    shutil.copy(source / "launcher.py", folder / "__main__.py")
    (folder / "requirements.txt").write_text("numpy>=1.24\nonnxruntime>=1.19.2\npillow\n", encoding="utf-8")


def _manifest(
    traced: Traced,
    rewritten: Rewritten,
    portable: StepFacts,
    native: StepFacts,
    method: Method,
    target: Target,
    settings: Settings,
) -> Manifest:
    return Manifest(
        format=FORMAT,
        toolchain=__version__,
        model=ModelFacts(traced.model, traced.classes, 3, traced.image_size, traced.preprocessing),
        method=_method_facts(method),
        batch=settings.batch,
        memory_budget=settings.memory_budget,
        target=target.as_json(),
        layers=tuple(Layer(i.name, i.kind, i.elements_per_sample, i.parameter) for i in rewritten.layers),
        dense_saved_bytes_per_sample=rewritten.dense_saved_bytes_per_sample,
        step=portable,
        native=native,
        infer=InferFacts(INFER, "images", "logits", RECIPE),
        reference=REFERENCE,
        files={},
    )


def _method_facts(method: Method) -> MethodFacts:
    probe = ProbeFacts(method.probe.samples, method.probe.prune_ratio)
    optimizer = method.optimizer
    return MethodFacts(
        name=method.name,
        train=method.train,
        controller=method.controller,
        learning_rate=optimizer.learning_rate,
        optimizer=optimizer.name,
        probe=probe,
        prune_ratio=method.prune_ratio,
    )


ROLES = {
    "images": "images",
    "prune_ratios": "prune_ratios",
    "learning_rate": "learning_rate",
    "optimizer.step": "counter",
    "active": "active",
}


def _write_step(
    folder: Path,
    traced: Traced,
    rewritten: Rewritten,
    trained: tuple[str, ...],
    settings: Settings,
    file: str,
    model: ir.Model,
    lowered: Lowered,
) -> StepFacts:
    """Saves a form of the step and describes it. model: `lowered` as the device runs it."""
    value_bits = 16 if settings.half else find_value_bits(lowered.step.graph)
    terms = Terms(lowered.stores, tuple(layer.elements_per_sample for layer in rewritten.layers), value_bits)
    timeline = find_timeline(model.graph, terms, traced.tensors.keys())
    _save(model, folder / file)
    return StepFacts(
        file=file,
        inputs=tuple(_input_facts(lowered.step.graph, traced.tensors.keys(), trained)),
        outputs=tuple(_output_facts(lowered.step.graph.outputs)),
        stores=tuple(Store(i.layers, i.union, span) for i, span in zip(lowered.stores, timeline.spans, strict=True)),
        saved=tuple(Saved(**vars(tensor)) for tensor in lowered.saved),
        moments=tuple(_moment_facts(moment) for moment in timeline.moments),
        value_bits=value_bits,
    )


def _moment_facts(moment: moments.Moment) -> Moment:
    condition = moment.condition
    facts = Condition(condition.source, condition.share) if condition is not None else None
    return Moment(**{**vars(moment), "condition": facts})


def _input_facts(graph: ir.Graph, tensors: Collection[str], trained: tuple[str, ...]) -> Iterable[TensorFacts]:
    statistics = {value.name.removesuffix(UPDATED) for value in graph.outputs if value.name} & set(tensors)

    def role(name: str) -> str:
        if name in ROLES or name not in tensors:
            return ROLES.get(name, "moment")
        return "parameter" if name in trained else "statistic" if name in statistics else "frozen"

    return [_facts(value, role(str(value.name))) for value in graph.inputs]


def _output_facts(outputs: Iterable[ir.Value]) -> Iterable[TensorFacts]:
    for value in outputs:
        name = str(value.name)
        updates = name.removesuffix(UPDATED) if name.endswith(UPDATED) else None
        yield _facts(value, name if updates is None else "state", updates)


def _facts(value: ir.Value, role: str, updates: str | None = None) -> TensorFacts:
    assert value.shape is not None and value.dtype is not None
    shape = tuple(dim if isinstance(dim, int) else "N" for dim in value.shape.dims)
    return TensorFacts(str(value.name), role, str(value.dtype.numpy()), shape, updates)
