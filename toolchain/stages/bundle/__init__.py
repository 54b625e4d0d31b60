"""The folder that a device executes: graphs, parameters, recorded results and a copy of the driver."""

import dataclasses
import json
import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

import toolchain
import toolchain.driver
import toolchain.errors
from graphs.kernels.build import LIBRARY, PLATFORMS, library
from graphs.moments import Terms
from graphs.ops import inlined, with_own_operators
from graphs.saved import find_value_bits
from targets import Target
from toolchain import __version__
from toolchain.artifacts import (
    RUNTIME_IR_VERSION,
    Compiled,
    Differentiated,
    Exported,
    Forms,
    Lowered,
    Rewritten,
    Traced,
)
from toolchain.driver.bundle import PARAMETERS, file_facts
from toolchain.driver.manifest import FORMAT, InferFacts, Layer, Manifest, ModelFacts, StepFacts, manifest_text
from toolchain.driver.tensors import write_tensors
from toolchain.methods import Choices
from toolchain.methods.declaration import Method
from toolchain.stages.bundle.method_facts import method_facts
from toolchain.stages.bundle.step_facts import describe

STEP, PREDICT = "step", "predict"
HERE = f"{sys.platform}-{platform.machine()}"
INFER = "infer/model.onnx"
RECIPE = "infer/tensorrt.json"
REFERENCE = "reference/step.npz"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user chose beside model, method and target. half: kept values in half precision."""

    batch: int
    memory_budget: int | None
    half: bool
    choices: Choices


def bundle(
    folder: Path,
    traced: Traced,
    compiled: Compiled,
    exported: Exported,
    method: Method,
    target: Target,
    settings: Settings,
) -> Manifest:
    """Writes all but the recorded results into the empty `folder`; returns its manifest, yet to be sealed."""
    for part in ("adapt", "infer", "reference"):
        (folder / part).mkdir(parents=True)
    write = _Writer(folder, traced, compiled, settings, _copy_kernels(folder, target))
    portable, native = write(STEP, compiled.step)
    predict, native_predict = (None, None) if compiled.predict is None else write(PREDICT, compiled.predict)
    onnx.save(exported.infer, folder / INFER)
    _write_recipe(folder / RECIPE, exported, target)
    if compiled.differentiated is not None and compiled.rewritten is not None:
        _write_training_artifacts(folder / "ort-training", compiled.differentiated, compiled.rewritten)
    tensors = {**traced.tensors, **compiled.constants}
    parameters = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    write_tensors(folder / PARAMETERS, parameters, {})
    _copy_driver(folder)
    return Manifest(
        format=FORMAT,
        toolchain=__version__,
        model=ModelFacts(traced.model, traced.classes, 3, traced.image_size, traced.preprocessing),
        method=method_facts(method, settings.choices, portable.inputs_of("parameter"), settings.batch),
        batch=settings.batch,
        memory_budget=settings.memory_budget,
        target=target.as_json(),
        layers=tuple(Layer(i.name, i.kind, i.elements_per_sample, i.parameter) for i in compiled.layers),
        dense_saved_bytes_per_sample=compiled.dense_saved_bytes_per_sample,
        step=portable,
        native=native,
        predict=predict,
        native_predict=native_predict,
        infer=InferFacts(INFER, "images", "logits", RECIPE),
        reference=REFERENCE,
        files={},
    )


@dataclasses.dataclass(frozen=True)
class _Writer:
    """Saves a graph in both its forms and describes them."""

    folder: Path
    traced: Traced
    compiled: Compiled
    settings: Settings
    kernels: dict[str, str]

    def __call__(self, name: str, forms: Forms) -> tuple[StepFacts, StepFacts]:
        portable = self._write(f"adapt/{name}-portable.onnx", inlined(forms.portable.step), forms.portable)
        native = self._write(f"adapt/{name}.onnx", with_own_operators(forms.native.step), forms.native)
        return portable, dataclasses.replace(native, compact_places=True, kernels=self.kernels)

    def _write(self, file: str, model: ir.Model, form: Lowered) -> StepFacts:
        elements = tuple(layer.elements_per_sample for layer in self.compiled.layers)
        value_bits = 16 if self.settings.half else find_value_bits(form.step.graph)
        terms = Terms(form.stores, elements, value_bits)
        facts = describe(file, model, form, self.traced.tensors.keys(), self.compiled.trained, terms)
        _save(model, self.folder / file)
        return facts


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
    folder.mkdir()
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
    for path in sorted(source.rglob("*.py")):
        copy = package / "driver" / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    shutil.copy(source / "launcher.py", folder / "__main__.py")
    (folder / "requirements.txt").write_text("numpy>=1.24\nonnxruntime>=1.19.2\npillow\n", encoding="utf-8")
