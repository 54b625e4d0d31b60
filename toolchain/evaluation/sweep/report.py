"""All results of a sweep as a table, as CSV and JSON, and as pictures, some for each model."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

from toolchain.driver.bytesize import format_bytes
from toolchain.evaluation import pictures
from toolchain.evaluation.table import write_csv

Document = Mapping[str, Any]
Name = TypeVar("Name")
COLUMNS = (
    *(
        "bundle",
        "model",
        "label",
        "method",
        "train",
        "controller",
        "order",
        "corruption",
        "seed",
        "prune_ratio",
        "batch",
    ),
    *("mean_error", "mean_eager_error", "differing_predictions", "kept_bytes", "peak_step_bytes"),
    *("step_seconds", "cpu_seconds", "skipped_batches"),
)


def write(documents: Sequence[Document], folder: Path) -> None:
    """sweep.json, sweep.csv, and the pictures. Raises DependencyError without matplotlib, when the rest is there."""
    (folder / "sweep.json").write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    write_csv(folder / "sweep.csv", [{**document, "corruption": _shown(document)} for document in documents], COLUMNS)
    for model in dict.fromkeys(document["model"] for document in documents):
        _draw([one for one in documents if one["model"] == model], folder, model.replace(":", "-").replace("/", "-"))


def _draw(documents: Sequence[Document], folder: Path, stem: str) -> None:
    named = {name: _mean(found) for name, found in _groups(documents, _name).items()}
    pictures.draw_corruptions(named, folder / f"{stem}-corruptions.svg")
    if any(document["kept_bytes"] for document in documents):
        curves = {label: _points(found) for label, found in _groups(documents, lambda one: str(one["label"])).items()}
        pictures.draw_memory(curves, folder / f"{stem}-memory.svg")
    if any(len(document["error_of_round"]) > 1 for document in documents):
        pictures.draw_rounds(named, folder / f"{stem}-rounds.svg")


def _groups(documents: Sequence[Document], name: Callable[[Document], Name]) -> dict[Name, list[Document]]:
    found: dict[Name, list[Document]] = {}
    for document in documents:
        found.setdefault(name(document), []).append(document)
    return found


def _points(documents: Sequence[Document]) -> list[Document]:
    """One for each ratio."""
    return [_mean(found) for found in _groups(documents, _name).values()]


def _mean(documents: Sequence[Document]) -> Document:
    """What pictures show of results that differ in seed or corruption only."""
    kept = _known(documents, "kept_bytes")
    return {
        "rows": [row for one in documents for row in one["rows"]],
        "mean_error": fmean(one["mean_error"] for one in documents),
        "kept_bytes": fmean(kept) if kept else None,
        "error_of_round": [fmean(errors) for errors in zip(*(one["error_of_round"] for one in documents), strict=True)],
    }


def _name(document: Document) -> str:
    ratio = document["prune_ratio"]
    return str(document["label"]) if ratio == "auto" else f"{document['label']}, p = {ratio}"


def _shown(document: Document) -> str:
    names = list(dict.fromkeys(row["corruption"] for row in document["rows"]))
    return names[0] if len(names) == 1 else f"{len(names)} corruptions"


def text(documents: Sequence[Document]) -> str:
    """For a terminal: a line for each model, method and ratio, means over its corruptions and seeds."""
    groups = _groups(documents, lambda one: (str(one["model"]), _name(one), one["bundle"]))
    widths = [max(map(len, column)) for column in zip(*groups, strict=True)][:2]
    return "\n".join(_line(found, words[:2], widths) for words, found in groups.items())


def _line(documents: Sequence[Document], words: Sequence[str], widths: Sequence[int]) -> str:
    start = "  ".join(f"{word:<{width}}" for word, width in zip(words, widths, strict=True))
    eager = [one["mean_eager_error"] for one in documents if "mean_eager_error" in one]
    beside = f"  eager {fmean(eager):6.2f} %" if eager else ""
    kept, peaks = (_known(documents, name) for name in ("kept_bytes", "peak_step_bytes"))
    sizes = f"kept {_size(fmean(kept) if kept else None):<9}  peak {_size(max(peaks, default=None))}"
    return f"{start}  {_error(documents)}{beside}  {sizes}"


def _error(documents: Sequence[Document]) -> str:
    """With the standard deviation between seeds, where there are several and all of them have the same corruptions."""
    seeds = list(_groups(documents, lambda one: one["seed"]).values())
    alike = len({tuple(map(_shown, found)) for found in seeds}) == 1
    means = [fmean(_known(found, "mean_error")) for found in seeds]
    deviation = f" ± {stdev(means):.2f} ({len(means)} seeds)" if alike and len(means) > 1 else ""
    return f"{fmean(_known(documents, 'mean_error')):6.2f} %{deviation}"


def _known(documents: Sequence[Document], fact: str) -> list[float]:
    return [one[fact] for one in documents if one[fact] is not None]


def _size(number: float | None) -> str:
    return "-" if number is None else format_bytes(round(number))
