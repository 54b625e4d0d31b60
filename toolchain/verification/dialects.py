"""The dialects of the compiled step, run for their gradients."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toolchain.driver.bundle import Bundle
from toolchain.driver.step import Step
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


def run_eager(step: EagerStep, images: np.ndarray, ratios: np.ndarray, dtype: torch.dtype) -> Outcome:
    result = step.gradients(torch.from_numpy(images).to(dtype), torch.from_numpy(ratios))
    gradients = {name: gradient.numpy() for name, gradient in result.grads.items()}
    logits, rms, kept = (tensor.numpy() for tensor in (result.logits, result.grad_rms, result.kept_elements))
    return Outcome(logits, float(result.loss), gradients, rms, kept)


def run_step(step: Step, images: np.ndarray, ratios: np.ndarray, optimizer: Optimizer) -> Outcome:
    """The gradients are read off the first moments, which were zero before. The step is left as it was."""
    step.restore(None)
    result = step.run(images, ratios, 0.0)
    share = 1 - optimizer.beta1 if isinstance(optimizer, Adam) else 1.0
    suffix = ".moment1"
    gradients = {
        name.removesuffix(suffix): array / np.float32(share)
        for name, array in step.state.items()
        if name.endswith(suffix)
    }
    step.restore(None)
    return Outcome(result.logits, result.loss, gradients, result.grad_rms, result.kept_elements)


def run_training(bundle: Bundle, images: np.ndarray, ratios: np.ndarray) -> Outcome:
    """The ort-training artifacts of a bundle. Raises BundleError if one was altered."""
    files = [bundle.file(f"ort-training/{name}") for name in ("training_model.onnx", "eval_model.onnx", "checkpoint")]
    return run_artifacts(files[0].parent, images, ratios)


def run_artifacts(folder: Path, *fed: np.ndarray) -> Outcome:
    """Training artifacts through onnxruntime.training.api, as a device that has it would run them.

    fed: images float32 [N, 3, H, W] and, if the activations are pruned, the ratios float32 [L]; without them grad_rms
    and kept_elements are empty.
    """
    from onnxruntime.training.api import CheckpointState, Module  # imports torch

    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"), device="cpu")
    module.train()
    results = dict(zip(module.output_names(), module(*fed), strict=True))
    gradients = {name: parameter.grad.copy() for name, parameter in state.parameters if parameter.requires_grad}
    loss = float(np.asarray(results["loss"]).reshape(-1)[0])
    nothing = np.zeros(0)
    return Outcome(
        results["logits"], loss, gradients, results.get("grad_rms", nothing), results.get("kept_elements", nothing)
    )
