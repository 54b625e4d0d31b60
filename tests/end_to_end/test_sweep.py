"""A sweep as a user calls it: one process and two Ray workers give the same numbers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.conftest import Run
from toolchain.errors import UsageError
from toolchain.evaluation.sweep.config import read_trials
from toolchain.evaluation.sweep.trial import Trial
from toolchain.evaluation.sweep.workers import open_ray

CONFIG = """
[shown]
data = "photographs.npz"
order = "reset"
corruptions = ["contrast", "fog"]
images = 48
batch = 16

[settings]
learning_rate = 1e-3

[[models]]
name = "cifar_resnet20"

[[methods]]
name = "surgeon"
"""
MEASURED = ("step_seconds", "cpu_seconds", "peak_step_bytes")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    sample = np.load("tests/data/cifar10_sample.npz")
    np.savez(folder / "photographs.npz", x_test=sample["images"], y_test=sample["labels"])
    (folder / "sweep.toml").write_text(CONFIG)
    return folder / "sweep.toml"


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """All but what was measured on the clock."""
    return {name: value for name, value in document.items() if name not in MEASURED}


def test_two_ray_workers_give_the_numbers_of_one_process(
    config: Path, toolchain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray, the extra `sweep`, is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray leaves a token
    here = toolchain("sweep", str(config), "--json", "--output", str(tmp_path / "here"))
    there = toolchain("sweep", str(config), "--json", "--output", str(tmp_path / "there"), "--ray", "local")
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    alone, together = json.loads(here.stdout), json.loads(there.stdout)
    assert alone["computed"] == together["computed"] == 2
    assert list(map(numbers, alone["trials"])) == list(map(numbers, together["trials"]))
    assert len({str(numbers(trial)) for trial in alone["trials"]}) == 2, "numbers can differ"
    again = toolchain("sweep", str(config), "--json", "--output", str(tmp_path / "there"))
    assert json.loads(again.stdout) == {**together, "computed": 0}
    for name in ("sweep.csv", "sweep.json", "cifar_resnet20-corruptions.svg", "cifar_resnet20-memory.svg"):
        assert (tmp_path / "there" / name).stat().st_size > 0


def die_of_fog(trial: Trial, folder: Path) -> None:
    if trial.shown.corruptions == ("fog",):
        os._exit(1)


def test_lost_worker_is_named_and_the_others_go_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray, the extra `sweep`, is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    trials = read_trials(config)
    greedy = replace(trials[0], settings=replace(trials[0].settings, threads=4096))
    with open_ray("local") as workers:
        errors = {done.trial.shown.corruptions: done.error for done in workers(die_of_fog, trials, tmp_path)}
        assert errors[("contrast",)] is None
        assert str(errors[("fog",)]).startswith("its worker was lost")
        with pytest.raises(UsageError, match="threads = 4096: no node of the Ray cluster has more than"):
            list(workers(die_of_fog, [greedy], tmp_path))


def test_a_cluster_that_is_not_there_is_named(config: Path, toolchain: Run, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray, the extra `sweep`, is not installed")
    done = toolchain("sweep", str(config), "--ray", "127.0.0.1:1", "--output", str(tmp_path))
    assert done.returncode == 1 and "no Ray cluster answers at '127.0.0.1:1'" in done.stderr
