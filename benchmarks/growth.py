"""How time and memory of a step grow with the batch and shrink with the prune ratio, plotted.

    python -m benchmarks.growth [--model resnet50] [--device-python PYTHON] [--batches 1 2 ...] [--ratios 0 0.5 ...]

What is measured replaces its points in results/growth-MODEL.json, and growth-MODEL-batch.svg and -ratio.svg are drawn
from that file; `--draw-only` measures nothing. A part of it all is `--batches 1 2 --ratios --names bundle dense`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.competition import Competition, Entrants, announce, competition
from benchmarks.plot import USUAL_BATCH, USUAL_RATIO, draw
from toolchain.measurement.task import Load

NAMES = ("bundle", "dense", "eager", "tent", "surgeon")
FLAT = ("dense", "eager", "tent")
"""Who prunes nothing, whatever the ratio is."""
BATCHES = (1, 2, 4, 8, 16, 32)
RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
FIGURES = ("step_seconds", "cpu_seconds", "peak_step_bytes", "kept_bytes")
RESULTS = Path(__file__).parent / "results"

Point = dict[str, Any]


def main() -> None:
    options = parse_arguments()
    path = options.output / f"growth-{options.model}.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"model": options.model, "points": []}
    if not options.draw_only:
        entrants = Entrants(options.model, USUAL_BATCH, options.names, options.weights, options.device_python)
        with competition(entrants) as contest:
            document["circumstances"] = contest.circumstances()
            measure(contest, document, options, path)
    for drawn in draw(document, path.with_suffix("")):
        announce(f"{drawn} written")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--names", nargs="+", default=NAMES, help="see `toolchain bench --help`")
    parser.add_argument("--batches", nargs="*", type=int, default=BATCHES, help=f"at ratio {USUAL_RATIO}")
    parser.add_argument("--ratios", nargs="*", type=float, default=RATIOS, help=f"at batch {USUAL_BATCH}")
    parser.add_argument("--weights", default="none", metavar="none|published|FILE")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device-python", default=sys.executable, help="what runs the bundle")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--draw-only", action="store_true")
    return parser.parse_args()


def measure(contest: Competition, document: dict[str, Any], options: argparse.Namespace, path: Path) -> None:
    """Writes the file after each load, for a run that is cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for batch, ratio in loads(options.batches, options.ratios):
        names = [name for name in options.names if name not in FLAT or ratio == USUAL_RATIO]
        if not names:
            continue
        announce(f"batch {batch}, ratio {ratio}")
        rows = contest.measure(Load(batch, options.steps, options.threads, str(ratio)), options.rounds, names)
        document["points"] = merged(document["points"], [point(row, batch, ratio, options.threads) for row in rows])
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def loads(batches: Sequence[int], ratios: Sequence[float]) -> list[tuple[int, float]]:
    """Each batch at the usual ratio, and each ratio at the usual batch, none twice."""
    wanted = [(batch, USUAL_RATIO) for batch in batches] + [(USUAL_BATCH, ratio) for ratio in ratios]
    return list(dict.fromkeys(wanted))


def point(row: Point, batch: int, ratio: float, threads: int) -> Point:
    """prune_ratio: None for who does not prune."""
    place = {"name": row["name"], "batch": batch, "prune_ratio": None if row["name"] in FLAT else ratio}
    return {**place, "threads": threads, **{key: row.get(key) for key in FIGURES}}


def merged(known: Sequence[Point], found: Sequence[Point]) -> list[Point]:
    """What was found takes the place of what was known of the same."""
    points = {(one["name"], one["batch"], one["prune_ratio"]): one for one in (*known, *found)}
    return list(points.values())


if __name__ == "__main__":
    main()
