"""Runs the contestants in turn and puts their medians side by side."""

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolchain.driver.memory import PLAIN_MALLOC
from toolchain.errors import ToolchainError
from toolchain.measurement.contestants import Contestant

FIGURES = ("step_seconds", "cpu_seconds", "peak_step_bytes")
FACTS = ("kept_bytes", "dense_bytes", "operators", "values")
"""What a contestant may say about itself, the same in each of its runs."""


def compete(
    contestants: Mapping[str, Contestant], rounds: int, threads: int, announce: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row a contestant: medians over the rounds, and each figure's ratio to the first contestant's."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, contestant in contestants.items():
            announce(f"{name}, round {turn + 1} of {rounds}")
            runs[name].append(_run(contestant, threads))
    rows = [{"name": name, **_summary(found)} for name, found in runs.items()]
    for row in rows:
        row["ratios"] = {key: row[key] / rows[0][key] for key in FIGURES if row[key] and rows[0][key]}
    return rows


def _summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """spread: the lowest and the highest of each figure."""
    figures = {key: [run[key] for run in found] for key in FIGURES}
    known = {key: values for key, values in figures.items() if None not in values}
    medians = {key: statistics.median(known[key]) if key in known else None for key in FIGURES}
    spread = {key: [min(values), max(values)] for key, values in known.items()}
    facts = {key: found[0][key] for key in FACTS if key in found[0]}
    return {**medians, **facts, "spread": spread, "runs": len(found)}


def _run(contestant: Contestant, threads: int) -> dict[str, Any]:
    done = subprocess.run(
        contestant.command, env=_environment(contestant, threads), capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise ToolchainError(f"`{' '.join(contestant.command)}` failed: {done.stderr.strip()[-800:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _environment(contestant: Contestant, threads: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in PLAIN_MALLOC}
    allocator = PLAIN_MALLOC if contestant.lean else {}
    return {**inherited, **allocator, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
