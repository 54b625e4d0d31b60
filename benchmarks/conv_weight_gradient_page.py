"""The page of conv_weight_gradient: a table layer by layer."""

import ctypes
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphs.kernels import library

MEANING = """\
Milliseconds of the processor for one weight gradient, one thread: from dense activations, and from the values that are
kept at a prune ratio. *Best dense* is the fastest of onnxruntime's ConvGrad, PyTorch and OpenBLAS (im2col and GEMM);
*own dense* is what the kernel takes below the ratio at which neither of its two ways is faster. Medians over rounds in
which the contestants take turns in one process; activations and gradients are normally distributed noise.
"""
HEADS = ("onnxruntime", "torch", "openblas", "own dense")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """The page, and what it is made of. path: without an ending."""
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(document), encoding="utf-8")


def instruction_set() -> str:
    """What the kernels are for."""
    function = ctypes.CDLL(str(library(f"linux-{platform.machine()}"))).toolchain_isa
    function.restype = ctypes.c_char_p
    return bytes(function()).decode()


def page(document: Mapping[str, Any]) -> str:
    """document: network, batch, rounds, ratios, rows (a layer with its count and times each), sums, circumstances."""
    title = f"# Weight gradient of {document['network']}'s convolutions, batch {document['batch']}"
    parts = [title, MEANING, "\n".join(_layers(document)), "## In sum", "\n".join(_sums(document))]
    parts += ["## Conditions\n\n" + _conditions(document)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _layers(document: Mapping[str, Any]) -> Iterator[str]:
    names = (*HEADS, *document["ratios"])
    yield from _heads("layer", "occurs", *names, "best dense / 0.9", "/ 0.95")
    for row in document["rows"]:
        speedups = [f"{row['best_dense'] / row[ratio]:.2f}" for ratio in ("0.9", "0.95")]
        yield _line(row["layer"], f"{row['count']}", *(f"{row[name]:.2f}" for name in names), *speedups)


def _sums(document: Mapping[str, Any]) -> Iterator[str]:
    """How often as fast as the best dense way of each layer, layers counted as often as they occur."""
    evens = ("even with the best dense at", "with our own at")
    yield from _heads("kind", *(f"best dense / {ratio}" for ratio in document["ratios"]), *evens)
    for row in document["sums"]:
        figures = [*row["speedups"], row["even_with_best_dense"], row["even_with_own_dense"]]
        yield _line(row["kind"], *(f"{figure:.2f}" for figure in figures))


def _heads(first: str, *others: str) -> Sequence[str]:
    return _line(first, *others), "|---|" + "---:|" * len(others)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _conditions(document: Mapping[str, Any]) -> str:
    found = document["circumstances"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    command = f"python -m benchmarks.conv_weight_gradient --network {document['network']} --rounds {document['rounds']}"
    return f"    {command}\n\n- {found['processor']}, {found['kernels']} kernels; Python {found['python']}, {versions}"
