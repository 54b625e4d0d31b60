"""Pages and figures follow from the recorded numbers alone."""

import xml.etree.ElementTree
from pathlib import Path
from typing import Any

from benchmarks.growth import loads, merged, point
from benchmarks.page import page
from benchmarks.plot import draw
from toolchain.driver.bytesize import format_bytes


def row(name: str, seconds: float, peak: int | None) -> dict[str, Any]:
    figures = {"step_seconds": seconds, "cpu_seconds": seconds, "peak_step_bytes": peak}
    return {"name": name, **figures, "spread": {key: [value, value] for key, value in figures.items()}}


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    circumstances = {
        "processor": "Some CPU",
        "processors": 2,
        "python": "3.11",
        "versions": {"torch": "2"},
        "bundle_versions": {"python": "3.8", "onnxruntime": "1.19.2"},
        "weights": "none",
    }
    load = {"prune_ratio": "0.9", "importance": "probe", "threads": 1, "rounds": 3, "steps": 2}
    return {"model": "net", "batch": 8, "sections": [{**load, "circumstances": circumstances, "rows": list(rows)}]}


def cells(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if label in line and line.startswith("|"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_page_compares_with_the_dense_step_and_says_where_it_was_measured() -> None:
    text = page(document(row("bundle", 1.0, 100 << 20), row("dense", 4.0, 400 << 20)), ["growth-net-batch.svg"])
    assert cells(text, "as its driver")[1:5] == [format_bytes(100 << 20), "0.25", "1.00", "0.25"]
    for said in ("Some CPU", "torch 2", "Python 3.8, onnxruntime 1.19.2", "--rounds 3", "1 thread", "growth-net-batch"):
        assert said in text


def test_what_was_not_measured_is_a_dash() -> None:
    text = page(document(row("bundle", 1.0, None), row("dense", 4.0, 400 << 20)))
    assert cells(text, "as its driver")[1:3] == ["–", "–"]


def test_no_load_runs_twice() -> None:
    assert loads([1, 8], [0.5, 0.9]) == [(1, 0.9), (8, 0.9), (8, 0.5)]


def test_new_points_replace_old_ones_of_the_same_place() -> None:
    old, new = (point(row("bundle", seconds, 1), 8, 0.9, 1) for seconds in (1.0, 2.0))
    other = point(row("bundle", 3.0, 1), 8, 0.5, 1)
    assert merged([old, other], [new]) == [new, other]


def test_figures_are_the_same_for_the_same_points(tmp_path: Path) -> None:
    points = [point(row(name, batch, batch << 20), batch, 0.9, 1) for name in ("bundle", "dense") for batch in (4, 8)]
    points += [point(row("bundle", 1.0, 5 << 20), 8, 0.0, 1)]
    assert {one["prune_ratio"] for one in points if one["name"] == "dense"} == {None}
    drawn = draw({"model": "net", "points": points}, tmp_path / "growth-net")
    first = [path.read_bytes() for path in drawn]
    assert first == [path.read_bytes() for path in draw({"model": "net", "points": points}, tmp_path / "growth-net")]
    for path in drawn:
        assert "dense onnxruntime-training" in "".join(xml.etree.ElementTree.parse(path).getroot().itertext())
