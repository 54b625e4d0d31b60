"""What a contestant is asked to run, as an object and as the arguments of its command."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """`steps` measured steps on `batch` images with `threads` threads.

    prune_ratio: "auto" or a number. importance: what automatic ratios follow, "probe" or "previous".
    """

    batch: int
    steps: int
    threads: int
    prune_ratio: str = "auto"
    importance: str = "probe"

    def arguments(self) -> list[str]:
        return [word for name, value in vars(self).items() for word in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True)
class Task:
    """A load on what lies in `folder`: a bundle, or what `prepare` wrote.

    fast: with the runtime's own settings, which take more memory. model, kernels: the graph to run instead of the
    folder's, and the library of its operators.
    """

    folder: Path
    load: Load
    fast: bool = False
    model: Path | None = None
    kernels: Path | None = None


def read_task() -> Task:
    """From the arguments of this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--prune-ratio", default=Load.prune_ratio)
    parser.add_argument("--importance", default=Load.importance)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--kernels", type=Path)
    found = parser.parse_args()
    load = Load(**{name: getattr(found, name) for name in Load.__dataclass_fields__})
    return Task(found.folder, load, found.fast, found.model, found.kernels)
