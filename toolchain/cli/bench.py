"""Measure time and peak memory of a bundle's step beside its peers, in fresh processes, in turn."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from toolchain.cli.arguments import count, ratio_or_auto
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.output import emit, progress
from toolchain.errors import UsageError

PEERS = ("dense", "eager")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--against", default="", metavar="dense,eager", help="peers to measure beside it")
    parser.add_argument("--batch", type=count, help="images a step (default: what the bundle was built for)")
    parser.add_argument("--prune-ratio", type=ratio_or_auto, default="auto", metavar="auto|P", help="(default: auto)")
    parser.add_argument("--steps", type=count, default=3, help="measured steps a round (default: 3)")
    parser.add_argument("--rounds", type=count, default=1, help="turns of each contestant (default: 1)")
    parser.add_argument("--threads", type=count, default=1, help="(default: 1)")


def run(options: argparse.Namespace) -> int:
    from toolchain.driver.bundle import Bundle
    from toolchain.measurement.contest import Load, bundle_command, compete, peer_command

    peers = [name for name in options.against.split(",") if name]
    if unknown := set(peers) - set(PEERS):
        raise UsageError(f"--against knows {' and '.join(PEERS)}, not {', '.join(unknown)}")
    load = Load(options.batch or Bundle(options.bundle).manifest.batch, options.steps, options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        _prepare(peers, options.bundle, Path(scratch))
        contestants = {"bundle": bundle_command(options.bundle, load, options.prune_ratio)}
        contestants |= {peer: peer_command(peer, Path(scratch), load) for peer in peers}
        rows = compete(contestants, options.rounds, load, progress)
    progress("")
    result = {"rows": rows, "batch": load.batch, "threads": load.threads, "prune_ratio": options.prune_ratio}
    emit(result | _circumstances(), _text(rows), options.json)
    return 0


def _prepare(peers: list[str], bundle: Path, folder: Path) -> None:
    if peers:
        from toolchain.measurement.prepare import prepare  # imports torch

        progress("preparing the peers")
        prepare(bundle, folder)


def _circumstances() -> dict[str, Any]:
    """What figures of another machine have to be read with."""
    import importlib.metadata
    import platform

    packages = ("torch", "onnxruntime-training-cpu", "numpy")
    return {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "processor": _processor(),
    }


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _text(rows: list[dict[str, Any]]) -> str:
    lines = ["name     step s    CPU s    peak"]
    for row in rows:
        peak = format_bytes(int(row["peak_step_bytes"]))
        ratio = row["ratios"].get("peak_step_bytes", 1.0)
        lines.append(f"{row['name']:<8} {row['step_seconds']:<9.3f} {row['cpu_seconds']:<8.3f} {peak} (x {ratio:.2f})")
    return "\n".join(lines)
