"""What each method keeps for its backward pass on ResNeXt-29 4x32d at batch 8, counted in two ways.

SURGEON's paper (Ma et al., CVPR 2025, table 4) counts float32 values of the inputs of trained convolutions and norms,
nothing else, in MiB; where nothing is trained, the largest input of a layer. We count all that waits: values, places,
masks, and whatever the method keeps besides.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.manifest import Manifest
from toolchain.evaluation.contestants.bundle import BundleProcess
from toolchain.evaluation.data import open_data
from toolchain.evaluation.orders import plan
from toolchain.evaluation.settings import Settings
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


def cache_figures(
    data: Path, folder: Path, builds: Mapping[str, Mapping[str, Any]], python: str
) -> list[dict[str, Any]]:
    """A row a method, on random weights: ratios that follow gradients depend on them. builds: arguments of `build`."""
    with tempfile.TemporaryDirectory() as scratch:
        source = _noise(Path(scratch) / "noise.npz")
        return [_figures(data, folder, label, {"source": source, **chosen}, python) for label, chosen in builds.items()]


def _noise(path: Path) -> Path:
    """Training images for methods that need some: with random weights, these do."""
    random = np.random.default_rng(0)
    np.savez(path, x_train=random.integers(0, 256, (64, 32, 32, 3), np.uint8), y_train=random.integers(0, 100, 64))
    return path


def _figures(data: Path, folder: Path, method: str, chosen: Mapping[str, Any], python: str) -> dict[str, Any]:
    path = folder / "bundles" / f"{MODEL}-{method.replace(' ', '-')}-batch{BATCH}"
    if not (path / "manifest.json").is_file():
        build(Request(MODEL, "host", weights="none", batch=BATCH, output=path, **chosen))
    facts, steps = Bundle(path).manifest, list(_steps(path, data, python))
    return {
        "model": MODEL,
        "label": method,
        "batch": BATCH,
        "published_bytes": PUBLISHED[method] * 2**20 if method in PUBLISHED else None,
        "kept_bytes_by_their_rule": _mean([_their_count(facts, step) for step in steps]),
        "kept_bytes": _mean([step["kept_bytes"] for step in steps]),
        "dense_bytes": steps[0]["dense_bytes"],
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


def _their_count(facts: Manifest, step: Mapping[str, Any]) -> float:
    """Float32 values of pruned inputs, without their places."""
    elements = [layer.elements_per_sample * BATCH for layer in facts.layers]
    kept = [math.floor(count * (1 - ratio)) for count, ratio in zip(elements, step["prune_ratios"], strict=True)]
    return float(4 * sum(kept))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
