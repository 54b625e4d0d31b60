"""Figures of an evaluation as text and as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.driver.bytesize import format_bytes

Document = Mapping[str, Any]
COLUMNS = ("round", "corruption", "severity", "images", "error", "eager_error", "differing_predictions", "kept_bytes")


def text(document: Document) -> str:
    """For a terminal: a line a row, then what it took."""
    width = max(len(row["corruption"]) for row in document["rows"])
    lines = [_line(row, width) for row in document["rows"]]
    return "\n".join([*lines, *_sums(document, width)])


def _line(row: Document, width: int) -> str:
    eager = f"   eager {row['eager_error']:6.2f} %" if "eager_error" in row else ""
    return f"round {row['round']}  {row['corruption']:<{width}} {row['severity']}  {row['error']:6.2f} %{eager}"


def _sums(document: Document, width: int) -> list[str]:
    eager = f"   eager {document['mean_eager_error']:6.2f} %" if "mean_eager_error" in document else ""
    found = [f"{'mean error':<{width + 11}} {document['mean_error']:6.2f} %{eager}"]
    if "differing_predictions" in document:
        found.append(f"predictions in which the two differ: {100 * document['differing_predictions']:.2f} %")
    if document["skipped_batches"]:
        found.append(f"batches that could not be learnt from, counted as errors: {document['skipped_batches']}")
    return found + _cost(document)


def _cost(document: Document) -> list[str]:
    if document["kept_bytes"] is None:
        return []
    peak = document["peak_step_bytes"]
    return [
        f"kept for the backward pass: {format_bytes(round(document['kept_bytes']))} of "
        f"{format_bytes(document['dense_bytes'])}, measured peak of a step: "
        f"{'not measurable here' if peak is None else format_bytes(peak)}, "
        f"{document['step_seconds']:.3f} s a step ({document['cpu_seconds']:.3f} s of processor time)"
    ]


def write_csv(path: Path, rows: Sequence[Document], columns: Sequence[str] = COLUMNS) -> None:
    """The rows with those of `columns` that occur."""
    known = [name for name in columns if any(name in row for row in rows)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, known, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
