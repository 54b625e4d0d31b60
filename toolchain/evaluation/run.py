"""Contestants on streams of batches: what they predicted, and what that took."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.driver.bundle import Bundle
from toolchain.evaluation.contestants.bundle import BundleProcess
from toolchain.evaluation.contestants.outcome import Outcome
from toolchain.evaluation.orders import Batch, Plan
from toolchain.evaluation.settings import Settings

Announce = Callable[[str, float], None]
"""Called after every batch: what was shown, and its error so far in percent."""


@dataclass
class Tally:
    """Of one visit: images shown, missed by the bundle, missed by its twin, and told apart by the two."""

    images: int = 0
    wrong: int = 0
    wrong_eager: int = 0
    differing: int = 0

    def add(self, wrong: npt.NDArray[np.bool_], eager: npt.NDArray[np.bool_], differing: npt.NDArray[np.bool_]) -> None:
        self.images += len(wrong)
        self.wrong += int(wrong.sum())
        self.wrong_eager += int(eager.sum())
        self.differing += int(differing.sum())

    @property
    def error(self) -> float:
        """Percent."""
        return 100 * self.wrong / self.images


@dataclass
class Record:
    """tallies: one a visit. steps: what the bundle's driver said of each batch; visits: which it showed; sizes: its
    images."""

    tallies: list[Tally]
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    visits: list[set[int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def of_visit(self, visit: int, fact: str) -> list[float]:
        """A fact of every batch that showed the visit and was not skipped."""
        shown = (step for step, visits in zip(self.steps, self.visits, strict=True) if visit in visits)
        return _known(fact, shown)

    def of_all(self, fact: str) -> list[float]:
        """A fact of every batch that was not skipped and is as large as the largest."""
        whole = max(self.sizes, default=0)
        return _known(fact, (step for step, size in zip(self.steps, self.sizes, strict=True) if size == whole))

    @property
    def skipped(self) -> int:
        return sum("skipped" in step for step in self.steps)


def _known(fact: str, steps: Iterable[Mapping[str, Any]]) -> list[float]:
    return [step[fact] for step in steps if step.get(fact) is not None]


def run(bundle: Path, plan: Plan, settings: Settings, announce: Announce = lambda shown, error: None) -> Record:
    """Every stream from the shipped weights. Raises ToolchainError."""
    record = Record([Tally() for _ in plan.visits])
    how = Bundle(bundle).manifest.model.preprocessing
    for stream in plan.streams:
        with ExitStack() as stack:
            contestant = stack.enter_context(BundleProcess(bundle, settings.python, settings.driver_arguments()))
            twin = settings.twin(bundle) if settings.eager else None
            for batch in stream:
                images = plan.pixels(batch, how)
                outcome = contestant.adapt(images)
                _note(record, plan, batch, outcome, outcome if twin is None else twin.adapt(images))
                announce(*_progress(record, plan, batch))
    return record


def _note(record: Record, plan: Plan, batch: Batch, outcome: Outcome, eager: Outcome) -> None:
    labels = plan.labels(batch)
    wrong, wrong_eager = outcome.wrong(labels), eager.wrong(labels)
    differing = np.ones(len(labels), np.bool_)
    if outcome.predictions is not None and eager.predictions is not None:
        differing = outcome.predictions != eager.predictions
    for visit in _visits(batch):
        part = batch.visits == visit
        record.tallies[visit].add(wrong[part], wrong_eager[part], differing[part])
    record.steps.append(outcome.facts)
    record.visits.append(set(_visits(batch)))
    record.sizes.append(len(batch.images))


def _visits(batch: Batch) -> Iterator[int]:
    return (int(visit) for visit in np.unique(batch.visits))


def _progress(record: Record, plan: Plan, batch: Batch) -> tuple[str, float]:
    last = int(batch.visits[-1])
    return plan.visits[last].domain.corruption, record.tallies[last].error


def summary(record: Record, plan: Plan, eager: bool) -> dict[str, Any]:
    """The fields of `evaluate --json`; errors in percent, sizes in bytes, times of a batch in seconds."""
    rows = [_row(record, plan, index, eager) for index in range(len(plan.visits))]
    rounds = sorted({row["round"] for row in rows})
    peaks = record.of_all("peak_step_bytes")
    found = {
        "rows": rows,
        "mean_error": _mean([row["error"] for row in rows]),
        "error_of_round": [_mean([row["error"] for row in rows if row["round"] == number]) for number in rounds],
        "peak_step_bytes": max(peaks) if peaks else None,
        "predicted_peak_bytes": max(record.of_all("predicted_peak_bytes"), default=None),
        "kept_bytes": _mean(record.of_all("kept_bytes")),
        "most_kept_bytes": max(record.of_all("kept_bytes"), default=None),
        "dense_bytes": max(record.of_all("dense_bytes"), default=None),
        "step_seconds": _median(record.of_all("seconds")),
        "cpu_seconds": _median(record.of_all("cpu_seconds")),
        "skipped_batches": record.skipped,
    }
    if eager:
        differing = sum(tally.differing for tally in record.tallies)
        found["mean_eager_error"] = _mean([row["eager_error"] for row in rows])
        found["differing_predictions"] = differing / sum(tally.images for tally in record.tallies)
    return found


def _row(record: Record, plan: Plan, index: int, eager: bool) -> dict[str, Any]:
    visit, tally = plan.visits[index], record.tallies[index]
    found = {
        "round": visit.round,
        "corruption": visit.domain.corruption,
        "severity": visit.domain.severity,
        "images": tally.images,
        "error": tally.error,
        "kept_bytes": _mean(record.of_visit(index, "kept_bytes")),
    }
    if eager:
        found["eager_error"] = 100 * tally.wrong_eager / tally.images
        found["differing_predictions"] = tally.differing / tally.images
    return found


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
