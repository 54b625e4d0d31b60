"""The memory that a step really takes: measured in fresh processes of one run, gradient buffers on both sides."""

import json
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


def test_inspect_predicts_less_for_more_pruning(cifar: Path, toolchain: Run) -> None:
    def inspect(ratio: str) -> dict[str, int]:
        found: dict[str, int] = json.loads(toolchain("inspect", str(cifar), "--prune-ratio", ratio, "--json").stdout)
        return found

    sparse, dense = inspect("0.95"), inspect("0")
    assert sparse["predicted_peak_bytes"] < dense["predicted_peak_bytes"]
    assert sparse["kept_bytes"] < 0.4 * sparse["dense_saved_bytes"]
    assert dense["kept_bytes"] > 0.6 * dense["dense_saved_bytes"]  # two layers share a store, and a value takes 28 bits
