"""A page of results, from what `bench` measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from toolchain.driver.bytesize import format_bytes

BASE = "dense"
TEXTS = {
    "bundle": "**bundle**, as its driver runs it",
    "bundle fp16": "**bundle**, kept values in float16",
    "portable": "**bundle**, standard operators only",
    "training": "**bundle**, dialect of onnxruntime-training",
    "dense": "onnxruntime-training, dense",
    "dense-fast": "onnxruntime-training, dense, its own settings",
    "eager": "PyTorch, full fine-tuning",
    "eager-fast": "PyTorch, full fine-tuning, its own settings",
    "tent": "PyTorch, TENT",
    "tent-fast": "PyTorch, TENT, its own settings",
    "surgeon": "PyTorch, SURGEON as its authors' code behaves",
    "surgeon-fast": "PyTorch, SURGEON as its authors' code behaves, its own settings",
}
MEANING = """\
A step is forward, loss, backward and the update by Adam; with automatic ratios the probe is part of it. *Peak* is the
resident memory that a step needs above parameters, optimizer state and input, gradients included, as the kernel counts
it. All run where they need least memory, with a C allocator that gives back at once and without an arena; *its own
settings* are those that a runtime comes with, faster and larger. Medians over rounds in which the contestants take
turns, each in a fresh process; images are normally distributed noise. × is relative to the dense step of
onnxruntime-training.
"""


def page(document: Mapping[str, Any], figures: Sequence[str] = ()) -> str:
    """document: model, batch and sections, each with its load, its rows and the circumstances.

    figures: names of the files beside it that show how the cost grows.
    """
    parts = [f"# {document['model']}, batch {document['batch']}", MEANING]
    parts += [_section(section) for section in document["sections"]]
    if figures:
        parts.append("## How it grows\n\n" + "\n".join(f"![{figure}]({figure})" for figure in figures))
    parts.append("## Conditions\n\n" + "\n".join(_conditions(document)))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(section: Mapping[str, Any]) -> str:
    return f"## {_title(section)}\n\n" + "\n".join(_table(section["rows"], section["threads"]))


def _title(section: Mapping[str, Any]) -> str:
    ratio, threads = section["prune_ratio"], section["threads"]
    chosen = f"automatic ratios by a {section['importance']}" if ratio == "auto" else f"every layer pruned at {ratio}"
    return f"{chosen}, {threads} thread{'s' if threads > 1 else ''}".capitalize()


def _table(rows: list[Mapping[str, Any]], threads: int) -> Iterator[str]:
    """With one thread the time of the processor, which the load of the machine disturbs least; else the clock's."""
    key, name = ("cpu_seconds", "CPU seconds") if threads == 1 else ("step_seconds", "seconds")
    base = next((row for row in rows if row["name"] == BASE), rows[0])
    yield f"| | peak of a step | × | {name} | × | lowest to highest | kept for the backward pass |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        cells = (_memory(row["peak_step_bytes"]), _times(row, base, "peak_step_bytes"), f"{row[key]:.2f}")
        more = (_times(row, base, key), _spread(row, key), _kept(row))
        yield " | ".join(["| " + TEXTS.get(row["name"], row["name"]), *cells, *more]) + " |"


def _memory(amount: float | None) -> str:
    return "–" if amount is None else format_bytes(int(amount))


def _times(row: Mapping[str, Any], base: Mapping[str, Any], key: str) -> str:
    return f"{row[key] / base[key]:.2f}" if row[key] and base[key] else "–"


def _spread(row: Mapping[str, Any], key: str) -> str:
    lowest, highest = row["spread"][key]
    return f"{lowest:.2f} to {highest:.2f}"


def _kept(row: Mapping[str, Any]) -> str:
    if row.get("kept_bytes") is None:
        return ""
    return f"{format_bytes(row['kept_bytes'])} of {format_bytes(row['dense_bytes'])}"


def _conditions(document: Mapping[str, Any]) -> Iterator[str]:
    """The command, and what the sections were measured on: once, if it was the same."""
    yield f"    python -m benchmarks.bench {document['model']} --batch {document['batch']}\n"
    for text in _distinct(_circumstances(section) for section in document["sections"]):
        yield f"- {text}"


def _circumstances(section: Mapping[str, Any]) -> str:
    found = section["circumstances"]
    peers = {"Python": found["python"], **found["versions"]}
    bundles = {name.replace("python", "Python"): version for name, version in found["bundle_versions"].items()}
    return (
        f"{found['processor']}, {found['processors']} processors; peers on {_listed(peers)}; "
        f"bundles on {_listed(bundles)}; weights: {WEIGHTS.get(found['weights'], found['weights'])}; "
        f"`--rounds {section['rounds']} --steps {section['steps']}`"
    )


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


WEIGHTS = {"none": "random, on which automatic ratios depend", "published": "as published"}


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
