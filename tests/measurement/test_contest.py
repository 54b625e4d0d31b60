"""Contestants take turns in processes of their own, and their figures stand side by side."""

import sys

import pytest

from toolchain.driver.memory import PLAIN_MALLOC
from toolchain.errors import ToolchainError
from toolchain.measurement.contest import compete
from toolchain.measurement.contestants import NAMES, Contestant, Ground, needs_preparation
from toolchain.measurement.task import Load, read_task

COUNTING = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
turn = len(path.read_text()) if path.exists() else 0
path.write_text("x" * (turn + 1))
print(json.dumps({"step_seconds": turn + float(sys.argv[2]), "cpu_seconds": 1.0, "peak_step_bytes": 100}))
"""
ENVIRONMENT = """
import json, os
plain = int("MALLOC_MMAP_THRESHOLD_" in os.environ)
print(json.dumps({"step_seconds": plain, "cpu_seconds": 1.0, "peak_step_bytes": None}))
"""


def contestant(code: str, *arguments: str, lean: bool = True) -> Contestant:
    return Contestant([sys.executable, "-c", code, *arguments], lean)


def test_medians_spread_and_ratios(tmp_path: object) -> None:
    contestants = {
        "first": contestant(COUNTING, f"{tmp_path}/a", "1"),
        "second": contestant(COUNTING, f"{tmp_path}/b", "3"),
    }
    said: list[str] = []
    first, second = compete(contestants, 3, 1, said.append)
    assert (first["step_seconds"], second["step_seconds"]) == (2, 4)
    assert second["spread"]["step_seconds"] == [3, 5]
    assert second["ratios"] == {"step_seconds": 2, "cpu_seconds": 1, "peak_step_bytes": 1}
    assert [line.partition(",")[0] for line in said] == ["first", "second"] * 3


def test_a_memory_that_cannot_be_measured_is_said_to_be_unknown() -> None:
    (row,) = compete({"one": contestant(ENVIRONMENT)}, 2, 1, lambda _: None)
    assert row["peak_step_bytes"] is None
    assert "peak_step_bytes" not in row["ratios"]


def test_only_the_lean_get_the_allocator_that_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLAIN_MALLOC.items():
        monkeypatch.setenv(name, value)
    contestants = {"lean": contestant(ENVIRONMENT), "fast": contestant(ENVIRONMENT, lean=False)}
    lean, fast = compete(contestants, 1, 1, lambda _: None)
    assert (lean["step_seconds"], fast["step_seconds"]) == (1, 0)


def test_who_fails_is_named_with_its_words() -> None:
    with pytest.raises(ToolchainError, match="no such luck"):
        compete({"one": contestant("import sys; sys.exit('no such luck')")}, 1, 1, lambda _: None)


def test_a_load_survives_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(batch=4, steps=2, threads=3, prune_ratio="0.9", importance="previous")
    monkeypatch.setattr(sys, "argv", ["contestant", "folder", *load.arguments(), "--fast"])
    task = read_task()
    assert (task.load, task.fast, task.kernels) == (load, True, None)


def test_what_has_to_be_prepared() -> None:
    assert needs_preparation(["bundle", "eager-fast"])
    assert not needs_preparation(["bundle", "portable", "training"])


def test_portable_is_the_bundle_on_standard_operators(tmp_path: object) -> None:
    ground = Ground(tmp_path, tmp_path, Load(1, 1, 1), "some-python")  # type: ignore[arg-type]
    bundle, portable = ground.contestant("bundle").command, ground.contestant("portable").command
    assert [*bundle, "--operators", "portable"] == portable
    assert portable[0] == "some-python"
    assert {"portable", "training", "dense", "eager", "tent", "surgeon"} < set(NAMES)
