"""Figures of how cost grows, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

MIB = 1 << 20
USUAL_RATIO, USUAL_BATCH = 0.9, 8
"""Of the one while the other varies."""
STYLES = {
    "bundle": ("bundle", "#0072B2", "o", "-"),
    "portable": ("bundle, standard operators", "#56B4E9", "v", "-"),
    "training": ("bundle, onnxruntime-training", "#009E73", "^", "-"),
    "dense": ("dense onnxruntime-training", "#D55E00", "s", "--"),
    "eager": ("PyTorch, full fine-tuning", "#E69F00", "D", "-."),
    "tent": ("PyTorch, TENT", "#CC79A7", "P", ":"),
    "surgeon": ("PyTorch, SURGEON as released", "#000000", "X", "-"),
}
"""Label, colour, marker and line of each contestant; the colours are Okabe and Ito's, which all can tell apart."""
PANELS = (
    ("peak_step_bytes", "peak of a step, MiB", MIB),
    ("cpu_seconds", "CPU seconds a step", 1),
)

Point = Mapping[str, Any]


def draw(document: Mapping[str, Any], stem: Path) -> list[Path]:
    """Writes STEM-batch.svg and STEM-ratio.svg; returns their paths."""
    points, model = document["points"], document["model"]
    by_batch = [point for point in points if point["prune_ratio"] in (None, USUAL_RATIO)]
    by_ratio = [point for point in points if point["batch"] == USUAL_BATCH]
    figures = {
        "batch": _by_batch(by_batch, f"{model}, pruned at {USUAL_RATIO}"),
        "ratio": _by_ratio(by_ratio, f"{model}, batch {USUAL_BATCH}"),
    }
    return [_save(figure, stem.with_name(f"{stem.name}-{what}.svg")) for what, figure in figures.items()]


def _by_batch(points: Sequence[Point], title: str) -> Figure:
    figure, panels = _panels(title)
    for axes, (key, label, unit) in zip(panels, PANELS, strict=True):
        for name, found in _lines(points, key):
            _line(axes, name, [one["batch"] for one in found], [one[key] / unit for one in found])
        axes.set(xlabel="images in a batch", ylabel=label, xscale="log", yscale="log")
        _label_batches(axes, sorted({one["batch"] for one in points}))
    _legend(figure, panels[0])
    return figure


def _label_batches(axes: Axes, batches: Sequence[int]) -> None:
    """Plain numbers on both logarithmic axes: every batch, and 1, 2, 5 of each power of ten."""
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def _by_ratio(points: Sequence[Point], title: str) -> Figure:
    """Who prunes nothing is a level line."""
    figure, panels = _panels(title)
    for axes, (key, label, unit) in zip(panels, PANELS, strict=True):
        for name, found in _lines(points, key):
            if found[0]["prune_ratio"] is None:
                _line(axes, name, [0, 1], [found[0][key] / unit] * 2, marker="")
            else:
                _line(axes, name, [one["prune_ratio"] for one in found], [one[key] / unit for one in found])
        axes.set(xlabel="prune ratio", ylabel=label, xlim=(-0.02, 1.02), ylim=(0, None))
    _legend(figure, panels[0])
    return figure


def _panels(title: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = list(figure.subplots(1, len(PANELS)))
    for axes in panels:
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _lines(points: Sequence[Point], key: str) -> Iterator[tuple[str, list[Point]]]:
    """The known points of each contestant, along both axes in order."""
    for name in STYLES:
        found = [one for one in points if one["name"] == name and one[key] is not None]
        if found:
            yield name, sorted(found, key=lambda one: (one["batch"], one["prune_ratio"] or 0))


def _line(axes: Axes, name: str, x: Sequence[float], y: Sequence[float], marker: str | None = None) -> None:
    label, colour, usual, style = STYLES[name]
    shape = usual if marker is None else marker
    axes.plot(x, y, style, color=colour, marker=shape, markersize=5, linewidth=1.6, label=label)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def _save(figure: Figure, path: Path) -> Path:
    """The same bytes for the same points."""
    with matplotlib.rc_context({"svg.hashsalt": "toolchain", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, metadata={"Date": None})
    return path
