"""The file of a sweep, TOML, which docs/sweeps.md describes. What it says is checked before anything is computed."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.corruptions import CORRUPTIONS
from toolchain.driver.bytesize import parse_bytes
from toolchain.errors import UsageError
from toolchain.evaluation.evaluate import Shown
from toolchain.evaluation.settings import Settings
from toolchain.evaluation.sweep.trial import FILES, Trial
from toolchain.request import Request

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table = Mapping[str, Any]
SWEPT = ("seed", "prune_ratio")
"""Settings that the sweep goes through."""

SETTINGS = tuple(name for name in Settings.__dataclass_fields__ if name not in SWEPT)
BUILD = tuple(name for name in Request.__dataclass_fields__ if name not in ("output", "stop_after"))
PARTS = {
    "shown": tuple(Shown.__dataclass_fields__),
    "settings": SETTINGS,
    "models": ("name", *BUILD),
    "methods": ("name", "label", "build", "prune_ratios", *SETTINGS),
    "sweep": ("seeds", "prune_ratios", "target"),
}
SINGLE = ("shown", "settings", "sweep")


def read_trials(path: Path) -> list[Trial]:
    """Every trial that the file asks for. Raises UsageError for a file that says something else."""
    content = _parse(path)
    try:
        _require_parts(content)
        pairs = itertools.product(content["models"], content["methods"])
        folder = path.parent.resolve()
        trials = [trial for model, method in pairs for trial in _trials(folder, content, model, method)]
        for trial in trials:
            _require_files(trial)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}: it needs [shown] with data, [[models]] and [[methods]]") from error
    return trials


def _trials(folder: Path, content: Table, model: Table, method: Table) -> Iterator[Trial]:
    sweep = content.get("sweep", {})
    build = {"target": sweep.get("target", "host"), **model, "model": model["name"], "method": method["name"]}
    build = _found(folder, {**build, **method.get("build", {})})
    own = {name: value for name, value in method.items() if name in SETTINGS}
    settings = _with_bytes({**content.get("settings", {}), **own}, "budget")
    seeds = _list(sweep, "seeds", [0])
    ratios = _list(method, "prune_ratios", _list(sweep, "prune_ratios", ["auto"]))
    for seed, ratio in itertools.product(seeds, ratios):
        chosen = Settings(**{**settings, "seed": seed, "prune_ratio": str(ratio)})
        for shown in _shown(folder, content["shown"]):
            yield Trial(build, shown, chosen, method.get("label", method["name"]))


def _found(folder: Path, build: Table) -> dict[str, Any]:
    """The arguments of `build`, its files beside the file of the sweep."""
    named = {name: value for name, value in build.items() if name in FILES and value != "none"}
    places = {name: str(folder / Path(value).expanduser()) for name, value in named.items()}
    return {name: value for name, value in _with_bytes({**build, **places}, "memory_budget").items() if name != "name"}


def _shown(folder: Path, table: Table) -> Iterator[Shown]:
    corruptions = _list(table, "corruptions", []) or None
    chosen = {**table, "data": folder / Path(table["data"]).expanduser()}
    if table.get("order") != "reset":
        yield Shown(**{**chosen, "corruptions": None if corruptions is None else tuple(corruptions)})
        return
    for name in corruptions or CORRUPTIONS:
        yield Shown(**{**chosen, "corruptions": (name,)})


def _parse(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error


def _require_parts(content: Table) -> None:
    _require_known(content, tuple(PARTS), "it")
    for part, names in PARTS.items():
        where = f"[{part}]" if part in SINGLE else f"[[{part}]]"
        for table in [content.get(part, {})] if part in SINGLE else content[part]:
            _require_known(_table(part, table), names, where)
    for method in content["methods"]:
        _require_known(_table("build", method.get("build", {})), BUILD, "build")
    labels = [method.get("label", method["name"]) for method in content["methods"]]
    if len(set(labels)) < len(labels):
        raise UsageError(f"[[methods]] are called {', '.join(labels)}: give each a `label` of its own")


def _require_known(table: Table, names: Sequence[str], where: str) -> None:
    if unknown := set(table) - set(names):
        raise UsageError(f"{where} has {', '.join(sorted(unknown))}: known are {', '.join(names)}")


def _require_files(trial: Trial) -> None:
    request = trial.request
    for place in (trial.shown.data, request.source, request.weights if request.weights != "none" else None):
        if place is not None and not Path(place).exists():
            raise UsageError(f"{place} is not there")


def _table(name: str, value: Any) -> Table:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} = {value!r}: write a table, see docs/sweeps.md")
    return value


def _list(table: Table, name: str, usual: list[Any]) -> list[Any]:
    found = table.get(name, usual)
    if not isinstance(found, list) or (not found and name in table):
        raise UsageError(f"{name} = {found!r}: write a list, as {name} = [{found!r}]" if found else f"{name} is empty")
    return found


def _with_bytes(table: Table, name: str) -> dict[str, Any]:
    """As the command line, takes 96MiB for a size."""
    value = table.get(name)
    return {**table, name: parse_bytes(value)} if isinstance(value, str) else dict(table)
