"""The two dialects of the compiled step, run for their gradients."""

from dataclasses import dataclass


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


def run_lowered(step: Step, images: np.ndarray, ratios: np.ndarray, optimizer: Optimizer) -> Outcome:
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
    """The ort-training artifacts through onnxruntime.training.api, as a device that has it would run them."""
    from onnxruntime.training.api import CheckpointState, Module

    folder = bundle.path / "ort-training"
    state = CheckpointState.load_checkpoint(str(bundle.file("ort-training/checkpoint")))
    module = Module(
        str(bundle.file("ort-training/training_model.onnx")), state, str(folder / "eval_model.onnx"), device="cpu"
    )
    module.train()
    results = dict(zip(module.output_names(), module(images, ratios), strict=True))
    gradients = {name: parameter.grad.copy() for name, parameter in state.parameters if parameter.requires_grad}
    loss = float(np.asarray(results["loss"]).reshape(-1)[0])
    return Outcome(results["logits"], loss, gradients, results["grad_rms"], results["kept_elements"])
