"""Runs the contestants in turn and puts their medians side by side."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.driver.memory import PLAIN_MALLOC
from toolchain.errors import ToolchainError

Command = Sequence[str]


@dataclass(frozen=True)
class Load:
    """What every contestant runs: `steps` measured steps on `batch` images with `threads` threads."""

    batch: int
    steps: int
    threads: int


def bundle_command(bundle: Path, load: Load, prune_ratio: str, python: str = sys.executable) -> Command:
    numbers = ["--batch", str(load.batch), "--steps", str(load.steps), "--threads", str(load.threads)]
    return [python, str(bundle), "bench", "--json", "--prune-ratio", prune_ratio, *numbers]


def peer_command(peer: str, prepared: Path, load: Load) -> Command:
    """peer: a module of this package. prepared: the folder that `prepare` wrote."""
    numbers = [str(load.batch), str(load.steps), str(load.threads)]
    return [sys.executable, "-m", f"toolchain.measurement.{peer}", str(prepared), *numbers]


def compete(
    contestants: Mapping[str, Command], rounds: int, load: Load, announce: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row a contestant: medians over the rounds, and each figure's ratio to the first contestant's."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, command in contestants.items():
            announce(f"{name}, round {turn + 1} of {rounds}")
            runs[name].append(_run(command, load))
    rows = [{"name": name, **_medians(found)} for name, found in runs.items()]
    for row in rows:
        row["ratios"] = {key: row[key] / rows[0][key] for key in FIGURES if rows[0][key]}
    return rows


FIGURES = ("step_seconds", "cpu_seconds", "peak_step_bytes")


def _medians(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    medians: dict[str, Any] = {key: statistics.median(run[key] for run in found) for key in FIGURES}
    return medians | {"kept_bytes": found[0].get("kept_bytes"), "runs": len(found)}


def _run(command: Command, load: Load) -> dict[str, Any]:
    environment = {
        **os.environ,
        **PLAIN_MALLOC,
        "OMP_NUM_THREADS": str(load.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise ToolchainError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-800:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result
