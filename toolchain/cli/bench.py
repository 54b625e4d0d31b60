"""Measure time and peak memory of a bundle's step beside its peers, in fresh processes, in turn."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from toolchain.cli.arguments import count, executable, ratio_or_auto
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.output import emit, progress
from toolchain.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--against",
        default="",
        metavar="NAME,...",
        help="what to measure beside it: portable (operators), training (dialect), dense, eager, tent, surgeon; "
        "dense-fast and so on with the settings that their runtimes come with",
    )
    parser.add_argument("--batch", type=count, help="images a step (default: what the bundle was built for)")
    parser.add_argument("--prune-ratio", type=ratio_or_auto, default="auto", metavar="auto|P", help="(default: auto)")
    parser.add_argument("--importance", choices=("previous", "probe"), default="probe", help="(default: probe)")
    parser.add_argument("--steps", type=count, default=3, help="measured steps a round (default: 3)")
    parser.add_argument("--rounds", type=count, default=1, help="turns of each contestant (default: 1)")
    parser.add_argument("--threads", type=count, default=1, help="(default: 1)")
    parser.add_argument("--python", type=executable, default=sys.executable, help="what runs the bundle (this Python)")


def run(options: argparse.Namespace) -> int:
    from toolchain.driver.bundle import Bundle
    from toolchain.measurement.circumstances import circumstances
    from toolchain.measurement.contest import compete
    from toolchain.measurement.contestants import Ground
    from toolchain.measurement.task import Load

    names = _names(options.against)
    batch = options.batch or Bundle(options.bundle).manifest.batch
    load = Load(batch, options.steps, options.threads, options.prune_ratio, options.importance)
    with tempfile.TemporaryDirectory() as scratch:
        _prepare(names, options.bundle, Path(scratch))
        ground = Ground(options.bundle, Path(scratch), load, options.python)
        contestants = {name: ground.contestant(name) for name in names}
        rows = compete(contestants, options.rounds, load.threads, progress)
    progress("")
    emit({"rows": rows, **vars(load), **circumstances(options.python)}, _text(rows), options.json)
    return 0


def _names(against: str) -> list[str]:
    """The bundle first, and nobody twice."""
    from toolchain.measurement.contestants import NAMES

    names = list(dict.fromkeys(["bundle", *(name for name in against.split(",") if name)]))
    if unknown := set(names[1:]) - set(NAMES):
        raise UsageError(f"--against knows {', '.join(NAMES)}, not {', '.join(sorted(unknown))}")
    return names


def _prepare(names: list[str], bundle: Path, folder: Path) -> None:
    from toolchain.measurement.contestants import needs_preparation

    if needs_preparation(names):
        from toolchain.measurement.prepare import prepare  # imports torch

        progress("preparing the peers")
        prepare(bundle, folder)


def _text(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'name':<14} {'step s':<16} {'CPU s':<16} peak"]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    peak = row["peak_step_bytes"]
    memory = "not measurable here" if peak is None else format_bytes(int(peak)) + _ratio(row, "peak_step_bytes")
    wall, cpu = (f"{row[key]:.3f}{_ratio(row, key)}" for key in ("step_seconds", "cpu_seconds"))
    return f"{row['name']:<14} {wall:<16} {cpu:<16} {memory}"


def _ratio(row: dict[str, Any], key: str) -> str:
    return f" (x {row['ratios'][key]:.2f})" if key in row["ratios"] else ""
