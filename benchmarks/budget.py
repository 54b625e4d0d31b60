"""Random budgets: does a step keep to them, and is its measured peak the predicted one?

    python -m benchmarks.budget [--cases 200] [--seed 0] [--device-python PYTHON] [--output benchmarks/results]

Builds each of MODELS once, draws cases of model, form of the step, batch, prune ratio and budget, from impossible to
generous, and runs each in a fresh process. A refusal has to name a budget that is too small, and the largest batch
that it says would fit has to run. Writes budget.json; exits 1 if anything is not as promised.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.driver.budget import Work
from toolchain.driver.manifest import Manifest, StepFacts, read_manifest
from toolchain.driver.step import available_forms
from toolchain.pipeline import Request, build

MODELS = (
    *("cifar_resnet20", "cifar_resnet56", "resnet18", "resnet50"),
    *("mobilenet_v2", "efficientnet_lite0", "squeezenet1_1"),
)
SIZES = (64, 96, 128)
MOST_IMAGES = 32
RATIOS = ("auto", "0.5", "0.9", "0.98")

LIMIT = 0.05
"""Of the predicted peak: how far the measured one may be from it."""

GRAIN = 512 << 10
"""Bytes that no prediction accounts for: the kernel's own figures are not finer by much."""

LEAST = re.compile(r"needs at least (\d+) bytes.*budget is (\d+) bytes")
FITTING = re.compile(r"largest batch that fits is (\d+)")


@dataclass(frozen=True)
class Case:
    """form: "native" or "portable". ratio: what the controller wants, "auto" or a number. budget: bytes."""

    bundle: Path
    form: str
    batch: int
    ratio: str
    budget: int


@dataclass(frozen=True)
class Outcome:
    """What a run said. refusal: the message, else None and figures in bytes. faults: promises that it broke."""

    refusal: str | None
    kept: int = 0
    predicted: int = 0
    measured: int = 0
    faults: tuple[str, ...] = ()


def main() -> int:
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        bundles = [make_bundle(model, random, Path(folder)) for model in options.models]
        rows = []
        for number in range(options.cases):
            case = draw(bundles[number % len(bundles)], random)
            rows.append(row(case, run(case, options.device_python)))
            announce(f"{number + 1} of {options.cases}: {rows[-1]}")
    document = {"seed": options.seed, "summary": summary(rows), "cases": rows}
    (options.output / "budget.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["summary"], indent=1))
    return 1 if any(found["faults"] for found in rows) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device-python", default=sys.executable, help="what runs the bundles (this Python)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_bundle(model: str, random: np.random.Generator, folder: Path) -> Path:
    """With random values, for a random image size where the model allows it."""
    size = None if model.startswith("cifar") else int(random.choice(SIZES))
    announce(f"building {model} for images of {size or 32} pixels")
    output = folder / model
    build(Request(model, "host", weights="none", image_size=size, output=output))
    return output


def draw(bundle: Path, random: np.random.Generator) -> Case:
    """A budget between 0.6 times what is needed at least and 1.5 times what is wanted, small ones more often."""
    manifest = read_manifest(bundle / "manifest.json")
    form = str(random.choice(available_forms(manifest)))
    batch, ratio = int(random.integers(1, MOST_IMAGES + 1)), str(random.choice(RATIOS))
    work = Work(manifest, facts_of(manifest, form), batch)
    wanted = np.full(len(manifest.layers), 0.5 if ratio == "auto" else float(ratio), np.float32)
    low, high = np.log(0.6 * work.least.bytes), np.log(1.5 * work.need(wanted).bytes)
    return Case(bundle, form, batch, ratio, int(np.exp(random.uniform(low, high))))


def facts_of(manifest: Manifest, form: str) -> StepFacts:
    native = manifest.native if form == "native" else None
    return native if native is not None else manifest.step


def run(case: Case, python: str) -> Outcome:
    """Runs a case, and judges what came out."""
    done = start(case, python)
    if done.returncode == 2 and "needs at least" in done.stderr:
        refusal = done.stderr.strip()
        return Outcome(refusal, faults=tuple(faults_of_refusal(case, refusal, python)))
    if done.returncode:
        return Outcome(None, faults=(f"it failed: {done.stderr.strip()}",))
    return judged(case, json.loads(done.stdout))


def start(case: Case, python: str) -> "subprocess.CompletedProcess[str]":
    command = [python, "-I", str(case.bundle), "bench", "--operators", case.form, "--batch", str(case.batch)]
    command += ["--prune-ratio", case.ratio, "--budget", str(case.budget), "--steps", "1", "--threads", "1", "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def judged(case: Case, found: dict[str, Any]) -> Outcome:
    kept, predicted, measured = (found[f"{name}_bytes"] for name in ("kept", "predicted_peak", "peak_step"))
    distance = abs(measured - predicted)
    promises = {
        f"it keeps {kept} bytes": kept <= case.budget,
        f"its peak was predicted as {predicted} bytes": predicted <= case.budget,
        f"its peak is {measured} instead of {predicted} bytes": distance <= max(LIMIT * predicted, GRAIN),
    }
    return Outcome(None, kept, predicted, measured, tuple(fault for fault, holds in promises.items() if not holds))


def faults_of_refusal(case: Case, refusal: str, python: str) -> Iterator[str]:
    numbers, fitting = LEAST.search(refusal), FITTING.search(refusal)
    if numbers is None or not int(numbers[1]) > int(numbers[2]) == case.budget:
        yield "the refusal lacks its numbers"
    if fitting is not None and start(with_batch(case, int(fitting[1])), python).returncode:
        yield "the batch that would fit does not run"
    if fitting is not None and not start(with_batch(case, int(fitting[1]) + 1), python).returncode:
        yield "a larger batch fits"


def with_batch(case: Case, batch: int) -> Case:
    return Case(case.bundle, case.form, batch, case.ratio, case.budget)


def row(case: Case, outcome: Outcome) -> dict[str, Any]:
    return {**asdict(case), "bundle": case.bundle.name, **asdict(outcome)}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    accepted = [found for found in rows if found["refusal"] is None and found["measured"]]
    return {
        "cases": len(rows),
        "refused": sum(found["refusal"] is not None for found in rows),
        "kept_within_budget": sum(found["kept"] <= found["budget"] for found in accepted),
        "measured_within_budget": sum(found["measured"] <= found["budget"] for found in accepted),
        "measured_to_predicted": {
            form: distribution([found for found in accepted if found["form"] == form])
            for form in sorted({found["form"] for found in accepted})
        },
        "faults": [found for found in rows if found["faults"]],
    }


def distribution(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of measured to predicted peak."""
    ratios = sorted(found["measured"] / found["predicted"] for found in rows)
    near = sum(abs(ratio - 1) <= LIMIT for ratio in ratios) / len(ratios)
    figures = {"cases": len(ratios), "lowest": ratios[0], "median": statistics.median(ratios), "highest": ratios[-1]}
    return {**figures, "share_within_limit": near}


if __name__ == "__main__":
    sys.exit(main())
