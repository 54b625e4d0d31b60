"""One trial of a sweep: what decides its result, and where that is kept."""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from toolchain.evaluation.evaluate import Shown, evaluate
from toolchain.evaluation.settings import Settings
from toolchain.request import Request, check

FILES = ("weights", "source")
"""Arguments of `build` that name files."""


@dataclass(frozen=True)
class Trial:
    """build: the arguments of a Request but its output, as TOML has them. label: what people say."""

    build: Mapping[str, Any]
    shown: Shown
    settings: Settings
    label: str

    @cached_property
    def bundle_name(self) -> str:
        """One for equal arguments of `build` and equal files among them."""
        files = [identity(Path(self.build[name])) for name in FILES if self.build.get(name) not in (None, "none")]
        return f"{self.build['model']}-{self.build['method']}-{digest([self.build, files])}".replace(":", "-")

    @cached_property
    def name(self) -> str:
        """One for all that decides the result, as it is when this is first asked."""
        decisive = [self.bundle_name, _facts(self.shown), _facts(self.settings), identity(self.shown.data)]
        corruption = f"-{self.shown.corruptions[0]}" if self.shown.order == "reset" and self.shown.corruptions else ""
        readable = f"{self.build['model']}-{self.label}{corruption}-p{self.settings.prune_ratio}-s{self.settings.seed}"
        return f"{readable}-{digest(decisive)}".replace(":", "-").replace("/", "-").replace(" ", "_")

    @property
    def request(self) -> Request:
        """Raises UsageError for values that no build accepts."""
        given: dict[str, Any] = {name: Path(value) if name == "source" else value for name, value in self.build.items()}
        request = Request(**given)
        check(request)
        return request

    def bundle(self, folder: Path) -> Path:
        return folder / "bundles" / self.bundle_name

    def result(self, folder: Path) -> Path:
        return folder / "results" / f"{self.name}.json"


def build_bundle(trial: Trial, folder: Path) -> None:
    """Writes the trial's bundle, unless it is there."""
    from toolchain.pipeline import build  # imports torch

    if not (trial.bundle(folder) / "manifest.json").is_file():
        build(dataclasses.replace(trial.request, output=trial.bundle(folder)))


def run_trial(trial: Trial, folder: Path) -> None:
    """Writes the trial's result whole, or not at all."""
    path = trial.result(folder)
    document = evaluate(trial.bundle(folder), trial.shown, trial.settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"label": trial.label, "eager": trial.settings.eager, **document}, indent=1)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as part:
        part.write(text)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).chmod(0o644)  # a temporary file is its owner's alone
    Path(part.name).replace(path)


def read_result(trial: Trial, folder: Path) -> dict[str, Any] | None:
    """None where there is none, or no whole one."""
    try:
        found: dict[str, Any] = json.loads(trial.result(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if "rows" in found else None


def _facts(settings: Shown | Settings) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if name != "data"}


def identity(path: Path) -> list[Any]:
    """Another file, or the same with another content, has another; a folder has those of the files right in it."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return [str(path.resolve()), *facts]


def digest(content: object) -> str:
    """Of what JSON can say, by the code of today."""
    text = json.dumps([_code(), content], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def _code() -> str:
    """Of the sources of the compiler, the driver and the kernels: what other code computed is computed again."""
    root, found = Path(__file__).parents[3], hashlib.sha256()
    for package in ("toolchain", "graphs", "targets"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".c", ".h", ".toml"):
                found.update(path.read_bytes())
    return found.hexdigest()
