"""One trial of a sweep: what decides its result, and where that is kept."""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain import __version__
from toolchain.evaluation.evaluate import Shown, evaluate
from toolchain.evaluation.settings import Settings

FILES = ("weights", "source")
"""Arguments of `build` that name files."""


@dataclass(frozen=True)
class Trial:
    """build: the arguments of a pipeline.Request but its output, as TOML has them. label: what people say."""

    build: Mapping[str, Any]
    shown: Shown
    settings: Settings
    label: str

    @property
    def bundle_name(self) -> str:
        """One for equal arguments of `build` and equal files among them."""
        files = [_identity(Path(self.build[name])) for name in FILES if self.build.get(name) not in (None, "none")]
        return f"{self.build['model']}-{self.build['method']}-{_digest([self.build, files])}".replace(":", "-")

    @property
    def name(self) -> str:
        """One for all that decides the result."""
        decisive = [self.bundle_name, _facts(self.shown), _facts(self.settings), _identity(self.shown.data)]
        corruption = f"-{self.shown.corruptions[0]}" if self.shown.order == "reset" and self.shown.corruptions else ""
        readable = f"{self.build['model']}-{self.label}{corruption}-p{self.settings.prune_ratio}-s{self.settings.seed}"
        return f"{readable}-{_digest(decisive)}".replace(":", "-").replace("/", "-").replace(" ", "_")

    def bundle(self, folder: Path) -> Path:
        return folder / "bundles" / self.bundle_name

    def result(self, folder: Path) -> Path:
        return folder / "results" / f"{self.name}.json"


def build_bundle(trial: Trial, folder: Path) -> None:
    """Writes the trial's bundle, unless it is there."""
    from toolchain.pipeline import Request, build  # imports torch

    if not (trial.bundle(folder) / "manifest.json").is_file():
        given: dict[str, Any] = {
            name: Path(value) if name == "source" else value for name, value in trial.build.items()
        }
        build(Request(**given, output=trial.bundle(folder)))


def run_trial(trial: Trial, folder: Path) -> None:
    """Writes the trial's result whole, or not at all."""
    document = evaluate(trial.bundle(folder), trial.shown, trial.settings)
    path = trial.result(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as part:
        json.dump({"label": trial.label, "eager": trial.settings.eager, **document}, part, indent=1)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).chmod(0o644)  # a temporary file is its owner's alone
    Path(part.name).replace(path)


def read_result(trial: Trial, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trial.result(folder).read_text(encoding="utf-8"))
    return found


def _facts(settings: Shown | Settings) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in ("python", "data")}


def _identity(path: Path) -> list[Any]:
    """Another file, or the same with another content, has another; a folder is known by its name."""
    facts = [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []
    return [str(path.resolve()), *facts]


def _digest(content: object) -> str:
    text = json.dumps([__version__, content], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
