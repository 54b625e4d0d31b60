"""The dialects of the compiled step, run for their gradients."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toolchain.driver.bundle import Bundle
from toolchain.driver.methods.optimizers import clear_gradients
from toolchain.driver.persistent import shipped_tensors
from toolchain.driver.step import Step, default_feeds
from toolchain.methods.declaration import Adam, Optimizer
from toolchain.reference.step import EagerStep
from toolchain.verification.check import Arrays


@dataclass(frozen=True)
class Outcome:
    """What one step computed: logits [N, C], loss, gradients by parameter, grad_rms [L], kept_elements [L]."""

    logits: np.ndarray
    loss: float
    gradients: Arrays
    grad_rms: np.ndarray
    kept_elements: np.ndarray


def run_eager(step: EagerStep, images: np.ndarray, ratios: np.ndarray, feeds: Arrays, dtype: torch.dtype) -> Outcome:
    fed = {role: torch.from_numpy(array).to(dtype) for role, array in feeds.items()}
    result = step.gradients(torch.from_numpy(images).to(dtype), torch.from_numpy(ratios), fed)
    gradients = {name: gradient.numpy() for name, gradient in result.grads.items()}
    logits, rms, kept = (tensor.numpy() for tensor in (result.logits, result.grad_rms, result.kept_elements))
    return Outcome(logits, float(result.loss), gradients, rms, kept)


def run_step(step: Step, images: np.ndarray, ratios: np.ndarray, feeds: Arrays, optimizer: Optimizer) -> Outcome:
    """The gradients are read off their buffers or the first moments, zero before. The step is left as it was."""
    step.restore(None)
    clear_gradients(step)
    result = step.run(images, ratios, 0.0, feeds)
    gradients = read_gradients(step, optimizer)
    step.restore(None)
    return Outcome(result.logits, result.loss, gradients, result.grad_rms, result.kept_elements)


def read_gradients(step: Step, optimizer: Optimizer) -> Arrays:
    """Of the first step, by parameter."""
    kind = "gradient" if step.of("gradient") else "moment1"
    share = 1 - optimizer.beta1 if isinstance(optimizer, Adam) and kind == "moment1" else 1.0
    return {name: step.tensors[f"{name}.{kind}"] / np.float32(share) for name in step.of("parameter")}


def run_training(bundle: Bundle, images: np.ndarray, ratios: np.ndarray, feeds: Arrays) -> Outcome:
    """The ort-training artifacts of a bundle. Raises BundleError if one was altered."""
    files = [bundle.file(f"ort-training/{name}") for name in ("training_model.onnx", "eval_model.onnx", "checkpoint")]
    return run_artifacts(files[0].parent, {**training_feeds(bundle, images, ratios), **feeds})


def training_feeds(bundle: Bundle, images: np.ndarray, ratios: np.ndarray) -> dict[str, np.ndarray]:
    """All that the training artifacts of a bundle may take, by name; what the method feeds, as it is by itself."""
    facts = bundle.manifest.step
    zeros = {i.name: np.zeros([int(dim) for dim in i.shape], np.float32) for i in facts.inputs_of("average")}
    sources = {name: array for name, array in shipped_tensors(bundle).items() if name.endswith(".source")}
    others = default_feeds(facts, bundle.manifest.model.classes, len(images))
    run = {"images": images, "prune_ratios": ratios, "active": np.ones(1, np.float32)}
    return {**run, **zeros, **sources, **others}


def run_artifacts(folder: Path, fed: Arrays) -> Outcome:
    """Training artifacts through onnxruntime.training.api, as a device that has it would run them.

    fed: by name, `images` float32 [N, 3, H, W] and, if the activations are pruned, `prune_ratios` float32 [L]; without
    them grad_rms and kept_elements are empty.
    """
    from onnxruntime.training.api import CheckpointState, Module  # imports torch

    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"), device="cpu")
    module.train()
    results = dict(zip(module.output_names(), module(*(fed[name] for name in module.input_names())), strict=True))
    gradients = {name: parameter.grad.copy() for name, parameter in state.parameters if parameter.requires_grad}
    loss = float(np.asarray(results["loss"]).reshape(-1)[0])
    nothing = np.zeros(0)
    return Outcome(
        results["logits"], loss, gradients, results.get("grad_rms", nothing), results.get("kept_elements", nothing)
    )
