"""A competition of a model's bundles and their peers, as the benchmarks run it."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.measurement.circumstances import circumstances
from toolchain.measurement.contest import compete
from toolchain.measurement.contestants import Contestant, Ground, needs_preparation
from toolchain.measurement.prepare import prepare
from toolchain.measurement.task import Load
from toolchain.pipeline import Request, build

HALF = "bundle fp16"
"""The contestant that keeps float16: a bundle of its own."""


@dataclass(frozen=True)
class Entrants:
    """The names of who competes, and where their bundles are built. weights: as `toolchain build` takes them."""

    model: str
    batch: int
    names: Sequence[str]
    weights: str = "none"
    python: str = sys.executable


class Competition:
    """Bundles in `folder`, built once and measured under any load."""

    def __init__(self, entrants: Entrants, folder: Path) -> None:
        self._entrants, self._folder = entrants, folder
        self._bundle = self._build("fp32")
        self._half = self._build("fp16") if HALF in entrants.names else self._bundle
        prepared = folder / "prepared"
        prepared.mkdir()
        if needs_preparation(entrants.names):
            prepare(self._bundle, prepared)

    def measure(self, load: Load, rounds: int, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A row of each of the names, all entrants unless they are given, in turn."""
        chosen = {name: self._contestant(name, load) for name in names or self._entrants.names}
        return compete(chosen, rounds, load.threads, announce)

    def circumstances(self) -> dict[str, Any]:
        return {**circumstances(self._entrants.python), "weights": self._entrants.weights}

    def _contestant(self, name: str, load: Load) -> Contestant:
        ground = Ground(self._bundle, self._folder / "prepared", load, self._entrants.python)
        if name == HALF:
            return replace(ground, bundle=self._half).contestant("bundle")
        return ground.contestant(name)

    def _build(self, values: str) -> Path:
        entrants = self._entrants
        announce(f"building {entrants.model}, {values}")
        weights = None if entrants.weights == "published" else entrants.weights
        output = self._folder / values
        request = Request(
            entrants.model, "xavier-nx", weights=weights, batch=entrants.batch, values=values, output=output
        )
        return build(request).folder


@contextmanager
def competition(entrants: Entrants) -> Iterator[Competition]:
    """In a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Competition(entrants, Path(folder))


def announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
