"""Time and memory of our step beside its peers, as pages of tables in benchmarks/results.

    python -m benchmarks.bench [MODEL ...] [--device-python PYTHON] [--rounds 3] [--steps 2]

Every figure is a median over rounds in which the contestants take turns, each in a fresh process. What is measured
replaces its part of MODEL.json, and MODEL.md is written from that file; `--write-only` measures nothing. A part of it
all is `--prune-ratios 0.9 --threads 1 --names bundle dense`.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.competition import HALF, Competition, Entrants, announce, competition
from benchmarks.page import page
from toolchain.measurement.task import Load

BATCHES = {"resnet50": 8, "cifar_resnet56": 64}
NAMES = (
    *("bundle", HALF, "portable", "training"),
    *("dense", "dense-fast", "eager", "eager-fast", "tent", "surgeon"),
)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    options = parse_arguments()
    for model in options.models:
        path = options.output / f"{model}.json"
        document = read(path, model, options.batch or BATCHES.get(model, 8))
        if not options.write_only:
            measure(document, options, path)
        figures = [figure.name for figure in sorted(path.parent.glob(f"growth-{model}-*.svg"))]
        path.with_suffix(".md").write_text(page(document, figures), encoding="utf-8")
        announce(f"{path.with_suffix('.md')} written")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(BATCHES), metavar="MODEL")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--names", nargs="+", default=NAMES, help="see `toolchain bench --help`")
    parser.add_argument("--prune-ratios", nargs="+", default=["0.9", "auto"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--weights", default="none", metavar="none|published|FILE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device-python", default=sys.executable, help="what runs the bundles")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--write-only", action="store_true")
    return parser.parse_args()


def read(path: Path, model: str, batch: int) -> dict[str, Any]:
    """What was measured before, if it was the same batch."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    fresh = {"model": model, "batch": batch, "sections": []}
    return found if found.get("batch") == batch else fresh


def measure(document: dict[str, Any], options: argparse.Namespace, path: Path) -> None:
    """Adds a section for each ratio and number of threads; writes the file after each, for a run that is cut short."""
    entrants = Entrants(document["model"], document["batch"], options.names, options.weights, options.device_python)
    with competition(entrants) as contest:
        for ratio, threads in itertools.product(options.prune_ratios, options.threads):
            section = measure_section(contest, Load(document["batch"], options.steps, threads, ratio), options.rounds)
            others = [known for known in document["sections"] if not same_conditions(known, section)]
            document["sections"] = sorted([*others, section], key=lambda one: (one["prune_ratio"], one["threads"]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def measure_section(contest: Competition, load: Load, rounds: int) -> dict[str, Any]:
    announce(f"prune ratio {load.prune_ratio}, threads {load.threads}")
    rows = contest.measure(load, rounds)
    return {**vars(load), "rounds": rounds, "circumstances": contest.circumstances(), "rows": rows}


def same_conditions(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("prune_ratio", "threads"))


if __name__ == "__main__":
    main()
