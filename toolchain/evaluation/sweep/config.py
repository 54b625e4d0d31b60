"""The file of a sweep, TOML. Paths in it are relative to the file.

    [shown]                      what every trial sees; see evaluate.Shown
    data = "cifar10.npz"
    images = 2000

    [settings]                   how every bundle is run; see settings.Settings
    eager = true

    [[models]]
    name = "cifar_resnet56"
    weights = "resnet56.th"      what `build` takes besides, if anything

    [[methods]]
    name = "surgeon"
    label = "SURGEON"            how tables and pictures call it (default: the name)
    build = { train = "bn" }     further arguments of `build`; `source`, too, is a file
    learning_rate = 1e-4         further settings
    prune_ratios = [0.5, 0.9]    instead of the sweep's

    [sweep]
    seeds = [0, 1]               (default: 0)
    prune_ratios = ["auto"]      (default: auto)
    target = "host"              (default: host)

Every model meets every method, seed and ratio. In the order "reset" corruptions do not depend on each other, and each
is a trial of its own; in the others the whole stream is one.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.corruptions import CORRUPTIONS
from toolchain.errors import UsageError
from toolchain.evaluation.evaluate import Shown
from toolchain.evaluation.settings import Settings
from toolchain.evaluation.sweep.trial import FILES, Trial

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table = Mapping[str, Any]
PARTS = ("shown", "settings", "models", "methods", "sweep")
OF_SWEEP = ("seeds", "prune_ratios", "target")
OF_METHOD = ("name", "label", "build", "prune_ratios")


def read_trials(path: Path) -> list[Trial]:
    """Every trial that the file asks for. Raises UsageError for a file that says something else."""
    content = _parse(path)
    _require_known(content, PARTS, f"{path}")
    sweep = content.get("sweep", {})
    _require_known(sweep, OF_SWEEP, f"{path}: [sweep]")
    try:
        pairs = itertools.product(content["models"], content["methods"])
        return [trial for model, method in pairs for trial in _trials(path.parent, content, sweep, model, method)]
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}: it needs [shown] with data, [[models]] and [[methods]]") from error
    except TypeError as error:
        raise UsageError(f"{path}: {_words(error)}") from error


def _trials(folder: Path, content: Table, sweep: Table, model: Table, method: Table) -> Iterator[Trial]:
    build = {"target": sweep.get("target", "host"), **model, "model": model["name"], "method": method["name"]}
    build = _found(folder, {**build, **method.get("build", {})})
    own = {name: value for name, value in method.items() if name not in OF_METHOD}
    settings = {**content.get("settings", {}), **own}
    ratios = method.get("prune_ratios", sweep.get("prune_ratios", ["auto"]))
    for seed, ratio in itertools.product(sweep.get("seeds", [0]), ratios):
        chosen = Settings(**{**settings, "seed": seed, "prune_ratio": str(ratio)})
        for shown in _shown(folder, content["shown"]):
            yield Trial(build, shown, chosen, method.get("label", method["name"]))


def _found(folder: Path, build: Table) -> dict[str, Any]:
    """The arguments of `build`, its files beside the file of the sweep."""
    named = {name: value for name, value in build.items() if name in FILES and value != "none"}
    places = {name: str(folder / Path(value).expanduser()) for name, value in named.items()}
    return {name: value for name, value in {**build, **places}.items() if name != "name"}


def _shown(folder: Path, table: Table) -> Iterator[Shown]:
    corruptions: Sequence[str] | None = table.get("corruptions")
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


def _require_known(table: Table, names: Sequence[str], where: str) -> None:
    if unknown := set(table) - set(names):
        raise UsageError(f"{where} has {', '.join(sorted(unknown))}: known are {', '.join(names)}")


def _words(error: TypeError) -> str:
    """Of an argument that a dataclass does not have."""
    return str(error).partition("__init__() ")[2] or str(error)
