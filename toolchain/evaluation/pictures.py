"""Pictures of evaluations, as SVG; needs matplotlib."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import DependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Document = Mapping[str, Any]
MIB = 1 << 20
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
"""Okabe and Ito's, which all can tell apart; then they begin again with another line."""
STYLES = tuple(itertools.product(("-", "--", ":"), COLOURS))
MARKERS = "os^DvPX<>*"


def draw_corruptions(documents: Mapping[str, Document], path: Path) -> None:
    """Error per corruption in the first round, a group of bars a corruption, a bar a document."""
    figure, axes = _figure((11, 4))
    names = list(dict.fromkeys(row["corruption"] for document in documents.values() for row in document["rows"]))
    width = 0.8 / len(documents)
    for index, (label, document) in enumerate(documents.items()):
        heights = [_error_of(document, name) for name in names]
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(names))]
        axes.bar(places, heights, width, label=label, color=STYLES[index % len(STYLES)][1])
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=7)
    axes.set(ylabel="error, %")
    _save(figure, axes, path)


def draw_memory(curves: Mapping[str, Sequence[Document]], path: Path, fact: str = "kept_bytes") -> None:
    """Mean error against bytes (Ma et al., CVPR 2025, figure 3): a curve a label, a point a result that keeps some."""
    figure, axes = _figure((6, 4.4))
    for index, (label, documents) in enumerate(curves.items()):
        points = sorted((one[fact] / MIB, one["mean_error"]) for one in documents if one[fact])
        line, colour = STYLES[index % len(STYLES)]
        marker = MARKERS[index % len(MARKERS)]
        if points:
            axes.plot(*zip(*points, strict=True), line, color=colour, marker=marker, markersize=5, label=label)
    axes.set(xlabel=f"{fact.replace('_', ' ')}, MiB".replace(" bytes", ""), ylabel="mean error, %", xscale="log")
    _plain_numbers(axes)
    _save(figure, axes, path)


def _plain_numbers(axes: "Axes") -> None:
    """1, 2, 5 of each power of ten on a logarithmic axis, or every number of a short one."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 5 * low else range(1, 10)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_rounds(documents: Mapping[str, Document], path: Path) -> None:
    """Mean error of each round: whether a method drifts."""
    figure, axes = _figure((6, 4.4))
    for index, (label, document) in enumerate(documents.items()):
        errors, (line, colour) = document["error_of_round"], STYLES[index % len(STYLES)]
        marker = MARKERS[index % len(MARKERS)]
        axes.plot(range(1, len(errors) + 1), errors, line, color=colour, marker=marker, markersize=4, label=label)
    axes.set(xlabel="round", ylabel="mean error, %")
    _save(figure, axes, path)


def _error_of(document: Document, corruption: str) -> float:
    found = [row["error"] for row in document["rows"] if row["round"] == 1 and row["corruption"] == corruption]
    return sum(found) / len(found) if found else 0.0


def _figure(size: tuple[float, float]) -> tuple["Figure", "Axes"]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("pictures need matplotlib: pip install 'toolchain[evaluate]'") from error
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: "Figure", axes: "Axes", path: Path) -> None:
    import matplotlib

    if len(axes.get_legend_handles_labels()[1]) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})
