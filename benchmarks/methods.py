"""Every method on corrupted CIFAR-10, as a page of tables and curves in benchmarks/results.

    python -m benchmarks.methods CIFAR10.npz --resnet56 resnet56.th [--parts table curve rounds batches cache]
                                 [--models ...] [--methods ...] [--images 2000] [--source FILE.npz]
                                 [--ray ADDRESS] [--write-only]

`benchmarks/obtain_cifar10.py` makes the .npz; --resnet56 names a trained checkpoint of the CIFAR ResNet-56, as
github.com/akamaster/pytorch_resnet_cifar10 publishes. Every result is kept in --output (default build/methods), so that
the same command goes on where it was interrupted, and a part of it all can be had first:

    table     15 corruptions at severity 5, one after the other: error of bundle and eager twin, memory and time
    curve     SURGEON against one ratio everywhere, at equal kept bytes
    rounds    all corruptions ten times over, an eighth of the images: who drifts
    batches   1, 8 and 64 images a step
    cache     ResNeXt-29 at batch 8: bytes kept, beside the figures that SURGEON's paper counts
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.equal_bytes import budgets, ratio_for
from benchmarks.methods_cache import cache_figures
from benchmarks.methods_page import write_page
from toolchain.driver.output import progress, warn
from toolchain.errors import ToolchainError
from toolchain.evaluation.evaluate import Shown
from toolchain.evaluation.settings import Settings
from toolchain.evaluation.sweep.campaign import carry_out
from toolchain.evaluation.sweep.trial import Trial, build_bundle, digest, identity
from toolchain.evaluation.sweep.workers import Workers, open_workers, work_here
from toolchain.methods import METHODS

RESULTS = Path(__file__).parent / "results"
MODELS = ("cifar_resnet20", "cifar_resnet56")
BATCH, ROUNDS, SEVERITY = 50, 10, 5
"""Two thousand images of each corruption in batches of 50 are about as many steps as the papers take on CIFAR-10-C, ten
thousand in batches of 200: so their learning rates are the right ones."""

SOURCE_SAMPLES = 16
"""As how many images the source's statistics count where they are mixed with those of a batch."""

ENTRIES: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in METHODS},
    **{f"{name} mixed": {"method": name, "source_samples": SOURCE_SAMPLES} for name in ("bn", "tent", "surgeon")},
    "surgeon bn": {"method": "surgeon", "train": "bn"},
    "surgeon fp16": {"method": "surgeon", "values": "fp16"},
    "surgeon whole probe": {"method": "surgeon", "probe_ratio": 0.0},
}
"""What each entry asks of `build`."""

SOURCED = ("eata", "ecotta")
"""Methods that see images of the training set when a bundle is built."""

COST = ("peak_step_bytes", "step_seconds", "cpu_seconds")
"""What a result tells of the run itself."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """Where and on what all parts are measured."""

    data: Path
    folder: Path
    workers: Workers
    models: Sequence[str]
    methods: Sequence[str]
    weights: dict[str, str]
    source: Path
    images: int
    python: str

    def trial(self, model: str, entry: str, shown: Shown, **settings: Any) -> Trial:
        build = {"model": model, "target": "host", "batch": BATCH, **ENTRIES[entry]}
        if model in self.weights:
            build["weights"] = self.weights[model]
        if build["method"] in SOURCED:
            build["source"] = str(self.source)
        return Trial(build, shown, Settings(python=self.python, **settings), entry)

    def shown(self, images: int, **chosen: Any) -> Shown:
        return Shown(self.data, **{"images": images, "batch": BATCH, "severity": SEVERITY, **chosen})

    def results(self, trials: Sequence[Trial]) -> list[Document]:
        """Of those that could be had."""
        campaign = carry_out(trials, self.folder, self.workers, progress)
        for name, error in campaign.failed.items():
            warn(f"{name}: {error}")
        return campaign.results

    def errors(self, trials: Sequence[Trial]) -> list[Document]:
        """Without what they cost: a twin may have run between their steps."""
        return [{name: value for name, value in one.items() if name not in COST} for one in self.results(trials)]

    def bundle(self, trial: Trial) -> Path:
        build_bundle(trial, self.folder)
        return trial.bundle(self.folder)

    def pairs(self) -> Iterator[tuple[str, str]]:
        return ((model, method) for model in self.models for method in self.methods)


def table(ground: Ground) -> list[Document]:
    """Memory and time come from runs of their own, of one batch a corruption, with no twin beside them."""
    shown, brief = ground.shown(ground.images), ground.shown(BATCH)
    errors = ground.errors([ground.trial(*pair, shown, eager=True) for pair in ground.pairs()])
    alone = replace(ground, workers=work_here)
    costs = {_conditions(one): one for one in alone.results([ground.trial(*pair, brief) for pair in ground.pairs()])}
    measured = [one for one in errors if _conditions(one) in costs]
    return [{**one, **{name: costs[_conditions(one)][name] for name in COST}} for one in measured]


def curve(ground: Ground) -> list[Document]:
    """SURGEON at its own ratios and in four budgets, and for each of the five one ratio that keeps as much: a pair."""
    found = []
    for model in ground.models:
        shown = ground.shown(ground.images)
        own = ground.trial(model, "surgeon", shown)
        surgeon = ground.errors([own])
        limits = budgets(ground.bundle(own), BATCH, surgeon)
        surgeon += ground.errors([ground.trial(model, "surgeon", shown, budget=limit) for limit in limits])
        static = ground.bundle(ground.trial(model, "static", shown))
        for number, one in enumerate(surgeon):
            ratio = ratio_for(static, BATCH, one["kept_bytes"])
            alike = ground.errors([ground.trial(model, "static", shown, prune_ratio=f"{ratio:.6f}")])
            found += [{**document, "pair": number} for document in (one, *alike)]
    return found


def rounds(ground: Ground) -> list[Document]:
    shown = ground.shown(max(1, ground.images // 8), rounds=ROUNDS)
    found = ground.errors([ground.trial(*pair, shown) for pair in ground.pairs()])
    return [{**document, "rows": []} for document in found]


def batches(ground: Ground) -> list[Document]:
    """Three corruptions, an eighth of the images."""
    names = ("gaussian_noise", "defocus_blur", "contrast")
    trials = []
    for batch in (1, 8, 64):
        shown = ground.shown(max(1, ground.images // 8), corruptions=names, batch=batch)
        trials += [ground.trial(*pair, shown) for pair in ground.pairs()]
    return ground.errors(trials)


def cache(ground: Ground) -> list[Document]:
    builds = {entry: ENTRIES[entry] for entry in ground.methods if entry not in ("source", "static")}
    return cache_figures(ground.data, builds, ground.python)


PARTS: dict[str, Callable[[Ground], list[Document]]] = {
    "table": table,
    "curve": curve,
    "rounds": rounds,
    "batches": batches,
    "cache": cache,
}


def main() -> None:
    options = parse_arguments()
    path = options.results / "methods.json"
    document: dict[str, list[Document]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not options.write_only:
        with open_workers(options.ray) as workers:
            ground = _ground(options, workers)
            for part in options.parts:
                document[part] = _merged(document.get(part, []), PARTS[part](ground))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    progress("")
    write_page(document, path.with_suffix(".md"))


def _ground(options: argparse.Namespace, workers: Workers) -> Ground:
    data, output = options.data.resolve(), options.output.resolve()
    weights = {} if options.resnet56 is None else {"cifar_resnet56": str(options.resnet56.resolve())}
    source = options.source or output / f"source-{digest(identity(data))}.npz"
    if options.source is None and any(ENTRIES[entry]["method"] in SOURCED for entry in options.methods):
        _write_tenth(data, source)
    chosen = (options.models, options.methods, weights, source.resolve(), options.images, options.device_python)
    return Ground(data, output, workers, *chosen)


def _write_tenth(data: Path, path: Path) -> None:
    """A tenth of the training set, which EcoTTA's authors find nearly enough (section 3.1)."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with np.load(data) as arrays:
        part = {name: arrays[name][: len(arrays[name]) // 10] for name in ("x_train", "y_train")}
    np.savez(path.with_suffix(".part.npz"), **part)
    path.with_suffix(".part.npz").replace(path)


def _merged(before: list[Document], after: list[Document]) -> list[Document]:
    """What was measured anew replaces what was measured before under the same conditions."""
    fresh = {_conditions(document) for document in after}
    return sorted([*(one for one in before if _conditions(one) not in fresh), *after], key=_conditions)


def _conditions(document: Document) -> tuple[str, ...]:
    chosen = ("batch", "rounds", "prune_ratio", "budget", "seed")
    names = ("pair",) if "pair" in document else chosen  # a curve's budgets and ratios follow from what is measured
    return tuple(str(document.get(name)) for name in ("model", "label", *names))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--images", type=int, default=2000, help="of each corruption in the table")
    parser.add_argument("--resnet56", type=Path, metavar="FILE")
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FILE.npz",
        help="training images for methods that need some (a tenth of those of data)",
    )
    parser.add_argument("--output", type=Path, default=Path("build/methods"), help="bundles and single results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the page goes")
    parser.add_argument("--device-python", default=sys.executable, help="what runs the bundles")
    parser.add_argument("--ray", metavar="ADDRESS")
    parser.add_argument("--write-only", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
