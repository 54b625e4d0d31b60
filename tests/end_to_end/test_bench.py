"""`toolchain bench` measures every contestant, each in a process of its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import OrtValue

from tests.end_to_end.conftest import DEVICE_PYTHON, Run
from toolchain.driver.bundle import Bundle
from toolchain.measurement.prepare import prepare
from toolchain.measurement.task import Load
from toolchain.measurement.training import Order, PrunedStep, TrainingStep, random_images, settings, share

NAMES = ("portable", "training", "dense", "eager", "tent", "surgeon", "dense-fast")
QUICK = ("--batch", "2", "--steps", "1", "--json")
WEIGHT = "conv1.weight"


@pytest.fixture(scope="module")
def found(cifar: Path, toolchain: Run) -> dict[str, Any]:
    """What it prints of all contestants, the bundle on the device's Python."""
    done = toolchain("bench", str(cifar), "--against", ",".join(NAMES), "--python", str(DEVICE_PYTHON), *QUICK)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_contestant_has_positive_figures(found: dict[str, Any]) -> None:
    assert [row["name"] for row in found["rows"]] == ["bundle", *NAMES]
    for row in found["rows"]:
        assert row["step_seconds"] > 0 and row["cpu_seconds"] > 0 and row["peak_step_bytes"] > 0, row
        assert row["ratios"].keys() == {"step_seconds", "cpu_seconds", "peak_step_bytes"}


def test_its_circumstances_are_printed_with_it(found: dict[str, Any]) -> None:
    assert (found["prune_ratio"], found["importance"], found["threads"]) == ("auto", "probe", 1)
    assert found["processor"] and found["versions"]["torch"]
    assert {"python", "numpy", "onnxruntime"} <= found["bundle_versions"].keys()


def test_ratio_and_importance_reach_the_bundle(cifar: Path, toolchain: Run, found: dict[str, Any]) -> None:
    done = toolchain("bench", str(cifar), "--prune-ratio", "0.99", "--importance", "previous", *QUICK)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["kept_bytes"] < found["rows"][0]["kept_bytes"]


@pytest.mark.parametrize(
    ("arguments", "word"), [(("--against", "eagre"), "eagre"), (("--python", "no/such/python"), "no/such/python")]
)
def test_what_it_does_not_know_is_a_usage_error(
    cifar: Path, toolchain: Run, arguments: tuple[str, ...], word: str
) -> None:
    done = toolchain("bench", str(cifar), *arguments)
    assert done.returncode == 2
    assert word in done.stderr


@pytest.fixture(scope="module")
def prepared(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(cifar, folder)
    return folder


def test_the_dense_step_includes_its_optimizer(prepared: Path) -> None:
    step, images = TrainingStep(prepared, settings(1, Order.DEFAULT)), share(random_images(2, 32))
    shipped = step.parameter(WEIGHT)
    step.differentiate(images)
    assert np.array_equal(step.parameter(WEIGHT), shipped)
    step.run(images)
    assert not np.array_equal(step.parameter(WEIGHT), shipped)


@pytest.mark.parametrize(("ratio", "same"), [("0", True), ("0.9", False)])
def test_the_bundles_own_dialect_learns_what_the_dense_step_does_if_nothing_is_pruned(
    cifar: Path, prepared: Path, ratio: str, same: bool
) -> None:
    images, bundle = random_images(2, 32), Bundle(cifar)
    dense = TrainingStep(prepared, settings(1, Order.DEFAULT))
    dense.run(share(images))
    ours = TrainingStep(cifar / "ort-training", settings(1, Order.PRIORITY_BASED))
    PrunedStep(ours, bundle, Load(2, 1, 1, ratio)).run(images)
    assert np.array_equal(ours.parameter(WEIGHT), dense.parameter(WEIGHT)) is same


@pytest.mark.parametrize("importance", ["probe", "previous"])
def test_automatic_ratios_take_a_probe_where_the_driver_would(
    cifar: Path, importance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingStep(cifar / "ort-training", settings(1, Order.PRIORITY_BASED))
    batches: list[int] = []
    original = step.differentiate

    def counted(*fed: OrtValue) -> Mapping[str, OrtValue]:
        batches.append(fed[0].shape()[0])
        return original(*fed)

    monkeypatch.setattr(step, "differentiate", counted)
    pruned = PrunedStep(step, Bundle(cifar), Load(4, 1, 1, "auto", importance))
    for _ in range(2):
        pruned.run(random_images(4, 32))
    assert batches == ([1, 4, 1, 4] if importance == "probe" else [1, 4, 4])
