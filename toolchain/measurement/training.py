"""The step in the dialect of onnxruntime-training: forward, backward, AdamW; dense, or a bundle's own.

Called as `python -m toolchain.measurement.training BUNDLE --batch N --steps K --threads T [--prune-ratio auto|P]
[--importance probe|previous] [--model FILE --kernels LIBRARY]`: the bundle's ort-training/ artifacts. The prune ratios
come from where the driver's would, so a step with a probe includes the probe.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime import OrtValue
from onnxruntime.training.api import CheckpointState, Module, Optimizer

from toolchain.driver.adaptation import elements_per_sample, parse_ratios
from toolchain.driver.bundle import Bundle
from toolchain.driver.controller import surgeon_ratios, uniform_ratios
from toolchain.measurement.stopwatch import report
from toolchain.measurement.task import Load, Task, read_task
from toolchain.verification.dialects import training_feeds

Order = onnxruntime.ExecutionOrder


class TrainingStep:
    """Artifacts in a folder, run by onnxruntime.training.api."""

    def __init__(self, folder: Path, options: onnxruntime.SessionOptions, model: Path | None = None) -> None:
        """model: the training graph, if it is not the folder's training_model.onnx."""
        self._state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        graph = str(model or folder / "training_model.onnx")
        self._module = Module(graph, self._state, device="cpu", session_options=options)
        self._module.train()
        self._optimizer = Optimizer(str(folder / "optimizer_model.onnx"), self._module)
        self._optimizer.set_learning_rate(1e-5)

    @property
    def gradient_bytes(self) -> int:
        """The engine's gradient buffers, which it holds from its start to its end."""
        return sum(parameter.data.nbytes for _, parameter in self._state.parameters if parameter.requires_grad)

    @property
    def input_names(self) -> list[str]:
        return list(self._module.input_names())

    def parameter(self, name: str) -> np.ndarray:
        return np.array(self._state.parameters[name].data)

    def differentiate(self, *fed: OrtValue) -> Mapping[str, OrtValue]:
        """Forward and backward; the outputs by name."""
        outputs = self._module(*fed)
        self._module.lazy_reset_grad()
        return dict(zip(self._module.output_names(), outputs, strict=True))

    def run(self, *fed: OrtValue) -> Mapping[str, OrtValue]:
        """Forward, backward, update."""
        outputs = self.differentiate(*fed)
        self._optimizer.step()
        return outputs


class PrunedStep:
    """A TrainingStep of a bundle, with prune ratios from where the load says."""

    def __init__(self, step: TrainingStep, bundle: Bundle, load: Load) -> None:
        self._step, self._bundle, self._manifest = step, bundle, bundle.manifest
        self._fixed = parse_ratios(load.prune_ratio, len(bundle.manifest.layers))
        self._probes = load.importance == "probe"
        self._grad_rms: np.ndarray | None = None

    def run(self, images: np.ndarray) -> None:
        ratios = self._automatic(images) if self._fixed is None else self._fixed
        self._grad_rms = self._step.run(*self._fed(images, ratios))["grad_rms"].numpy()

    def _automatic(self, images: np.ndarray) -> np.ndarray:
        method, layers = self._manifest.method, len(self._manifest.layers)
        if method.controller != "surgeon":
            own = method.prune_ratio if method.controller == "static" else 0.0
            return uniform_ratios(layers, own or 0.0)
        if self._grad_rms is None or self._probes:
            probe = method.probe
            ratios = uniform_ratios(layers, probe.prune_ratio)
            outputs = self._step.differentiate(*self._fed(images[: probe.samples], ratios))
            self._grad_rms = outputs["grad_rms"].numpy()
        return surgeon_ratios(self._grad_rms, elements_per_sample(self._manifest))

    def _fed(self, images: np.ndarray, ratios: np.ndarray) -> list[OrtValue]:
        fed = training_feeds(self._bundle, images, ratios)
        return [share(fed[name]) for name in self._step.input_names]


def settings(threads: int, order: Any, fast: bool = False, kernels: Path | None = None) -> onnxruntime.SessionOptions:
    """Every buffer freed at once, or `fast`: the runtime's own settings, which keep what they ever took.

    order: an ExecutionOrder. kernels: a library of operators.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not fast:
        options.enable_cpu_mem_arena = options.enable_mem_pattern = options.enable_mem_reuse = False
        options.execution_order = order
    if kernels is not None:
        options.register_custom_ops_library(str(kernels))
    return options


def random_images(batch: int, side: int) -> np.ndarray:
    """float32 [batch, 3, side, side], normally distributed."""
    return np.random.default_rng(0).standard_normal((batch, 3, side, side), np.float32)


def share(array: np.ndarray) -> OrtValue:
    """The same memory, for the runtime."""
    return OrtValue.ortvalue_from_numpy(array)


def main(task: Task) -> None:
    bundle, load = Bundle(task.folder), task.load
    options = settings(load.threads, Order.PRIORITY_BASED, kernels=task.kernels)  # in the order of the file
    artifacts = bundle.file("ort-training/checkpoint").parent
    step = TrainingStep(artifacts, options, task.model)
    pruned = PrunedStep(step, bundle, load)
    images = random_images(load.batch, bundle.manifest.model.image_size)
    report(lambda: pruned.run(images), load.steps, step.gradient_bytes)


if __name__ == "__main__":
    main(read_task())
