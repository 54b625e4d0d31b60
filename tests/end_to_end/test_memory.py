"""The memory that a step really takes: measured in fresh processes of one run, gradient buffers on both sides."""

import json
import mmap
import resource
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Build, Run

BATCH = 8
LIMITS = {"bundle": 1 / 7, "portable": 0.35}
"""Of the dense onnxruntime-training step, at ratio 0.9: with native kernels, and with standard operators."""


@pytest.fixture(scope="module")
def resnet50(built: Build) -> Path:
    return built("resnet50", weights="none")


def test_pruned_step_needs_a_fraction_of_the_dense_one(resnet50: Path, toolchain: Run) -> None:
    arguments = ("--against", "portable,dense", "--batch", str(BATCH), "--prune-ratio", "0.9", "--steps", "1", "--json")
    done = toolchain("bench", str(resnet50), *arguments)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    for name, limit in LIMITS.items():
        ratio = rows[name]["peak_step_bytes"] / rows["dense"]["peak_step_bytes"]
        assert ratio <= limit, f"{name}: {ratio:.3f}: {rows}"


def test_inspect_shows_whose_numbers_hold(built: Build, cifar: Path, toolchain: Run) -> None:
    small = built("resnet18", weights="none", image_size=64)
    for bundle, setting, rate in ((cifar, "cifar10", 2.2e-5), (small, "imagenet", 5e-6)):
        found = json.loads(toolchain("inspect", str(bundle), "--json").stdout)
        assert (found["setting"], found["optimizer"], found["numbers"]["learning_rate"]) == (setting, "adam", rate)


def test_inspect_shows_what_was_chosen(built: Build, toolchain: Run) -> None:
    chosen = {"source_samples": 16, "train": "bn", "selection": True}
    bundle = built("cifar_resnet20", method="surgeon", **chosen)
    assert json.loads(toolchain("inspect", str(bundle), "--json").stdout)["choices"] == chosen
    first = toolchain("inspect", str(bundle)).stdout.splitlines()[0]
    assert first == "cifar_resnet20, surgeon --train bn --selection --source-samples 16, xavier-nx, batch 8"


def test_inspect_predicts_less_for_more_pruning(cifar: Path, toolchain: Run) -> None:
    def inspect(ratio: str) -> dict[str, int]:
        found: dict[str, int] = json.loads(toolchain("inspect", str(cifar), "--prune-ratio", ratio, "--json").stdout)
        return found

    sparse, dense = inspect("0.95"), inspect("0")
    assert sparse["predicted_peak_bytes"] < dense["predicted_peak_bytes"]
    assert sparse["kept_bytes"] < 0.4 * sparse["dense_saved_bytes"]
    assert dense["kept_bytes"] > 0.6 * dense["dense_saved_bytes"]  # two layers share a store, and a value takes 28 bits


def test_pages_that_a_step_frees_serve_again(cifar: Path, on_device: Run) -> None:
    """With the library's memory the system hands out some peaks of a step in each, without it many."""
    native, portable = (handed_out(on_device, cifar, form) for form in ("native", "portable"))
    assert native < 3 < 6 < portable, (native, portable)


def handed_out(on_device: Run, bundle: Path, form: str) -> float:
    """Bytes that the system hands out in a step, in peaks of a step."""
    faults, peak = [], 0
    for steps in (1, 5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        arguments = ("--steps", str(steps), "--operators", form, "--prune-ratio", "0.5", "--threads", "1", "--json")
        done = on_device(bundle, "bench", *arguments)
        assert done.returncode == 0, done.stderr
        faults.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before)
        peak = json.loads(done.stdout)["peak_step_bytes"]
    return (faults[1] - faults[0]) / 4 * mmap.PAGESIZE / peak
