"""What each method keeps for its backward pass on ResNeXt-29 4x32d at batch 8, counted in two ways.

SURGEON's paper (Ma et al., CVPR 2025, table 4) counts float32 values of the inputs of trained convolutions and norms,
in MiB, and nothing else; at least the largest input of a layer, which a forward pass holds anyway. We count all that
waits: values, places, masks, and whatever the method keeps besides.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toolchain.driver.bundle import Bundle
from toolchain.driver.manifest import Manifest, StepFacts
from toolchain.driver.needs import kept_bytes
from toolchain.driver.step import NATIVE, available_forms
from toolchain.evaluation.contestants.bundle import BundleProcess
from toolchain.evaluation.data import open_data
from toolchain.evaluation.orders import plan
from toolchain.evaluation.settings import Settings
from toolchain.models.registry import load_model
from toolchain.pipeline import Request, build

MODEL, BATCH, STEPS = "resnext29_4x32d_cifar100", 8, 3
PUBLISHED = {
    "bn": 8.0,
    "tent": 109.0,
    "cotta": 216.0,
    "ecotta": 42.0,
    "mecta": 22.8,
    "surgeon": 22.4,
    "full": 216.1,
}
"""MiB; `full` is the sum that the paper's rule gives, which its table leaves out."""


def cache_figures(data: Path, builds: Mapping[str, Mapping[str, Any]], python: str) -> list[dict[str, Any]]:
    """A row a method, on random weights: ratios that follow gradients depend on them. builds: arguments of `build`."""
    with tempfile.TemporaryDirectory() as scratch:
        source = _noise(Path(scratch) / "noise.npz")
        given = {label: {"source": source, **chosen} for label, chosen in builds.items()}
        return [_figures(data, Path(scratch) / label, label, chosen, python) for label, chosen in given.items()]


def _noise(path: Path) -> Path:
    """Training images for methods that need some: with random weights, these do."""
    random = np.random.default_rng(0)
    np.savez(path, x_train=random.integers(0, 256, (64, 32, 32, 3), np.uint8), y_train=random.integers(0, 100, 64))
    return path


def _figures(data: Path, path: Path, method: str, chosen: Mapping[str, Any], python: str) -> dict[str, Any]:
    build(Request(MODEL, "host", weights="none", batch=BATCH, output=path, **chosen))
    facts, steps = Bundle(path).manifest, list(_steps(path, data, python))
    form = facts.native if facts.native is not None and NATIVE in available_forms(facts) else facts.step
    largest = largest_input(load_model(MODEL, "none").module, 32)
    return {
        "model": MODEL,
        "label": method,
        "batch": BATCH,
        "published_bytes": PUBLISHED[method] * 2**20 if method in PUBLISHED else None,
        "kept_bytes_by_their_rule": _mean([max(their_count(facts, form, step), largest) for step in steps]),
        "kept_bytes": _mean([step["kept_bytes"] for step in steps]),
        **waiting_besides(form),
        "dense_bytes": steps[0]["dense_bytes"],
        "beside_bytes": sum(tensor.bytes for tensor in facts.method.state),
        "peak_step_bytes": max((step["peak_step_bytes"] or 0 for step in steps), default=None),
    }


def _steps(bundle: Path, data: Path, python: str) -> Iterator[Mapping[str, Any]]:
    """What the driver says of some batches of corrupted photographs."""
    facts = Bundle(bundle).manifest
    dataset = open_data(data, facts.model, BATCH * STEPS, seed=0)
    shown = plan("continual", dataset.domain, ["gaussian_noise"], 5, 1, BATCH, 0)
    with BundleProcess(bundle, python, Settings().driver_arguments()) as process:
        for batch in shown.streams[0]:
            yield process.adapt(shown.pixels(batch, facts.model.preprocessing)).facts


def largest_input(module: nn.Module, image_size: int) -> int:
    """Bytes of a batch, float32, of the largest input of a convolution or norm."""
    elements = [0]
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(lambda _, given: elements.append(given[0].numel())) for layer in layers]
    with torch.no_grad():
        module(torch.zeros(1, 3, image_size, image_size))
    for handle in handles:
        handle.remove()
    return 4 * BATCH * max(elements)


def their_count(facts: Manifest, form: StepFacts, step: Mapping[str, Any]) -> float:
    """Float32 values of pruned inputs, without their places. Where no ratio decides, those that the layers kept."""
    if not form.inputs_of("prune_ratios"):
        return float(step["kept_bytes"] - kept_bytes(facts, form, BATCH, [0] * len(facts.layers)))
    elements = [layer.elements_per_sample * BATCH for layer in facts.layers]
    kept = [math.floor(count * (1 - ratio)) for count, ratio in zip(elements, step["prune_ratios"], strict=True)]
    return float(4 * sum(kept))


def waiting_besides(form: StepFacts) -> dict[str, int]:
    """Bytes that wait beside what the layers keep: a bit an element for each ReLU or its like, and all else."""
    masks = [saved for saved in form.saved if saved.kind == "mask"]
    others = [saved for saved in form.saved if saved.kind != "mask" and saved.layer is None]
    found = {"mask_bytes": masks, "other_bytes": others}
    return {name: sum(one.bytes + one.bytes_per_sample * BATCH for one in saved) for name, saved in found.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
