"""The page of all methods, from made-up figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.methods import Ground, _merged, table
from benchmarks.methods_claims import judged
from benchmarks.methods_page import write_page
from toolchain.evaluation.sweep.trial import Trial
from toolchain.evaluation.sweep.workers import work_here

MIB = 1 << 20


def document(label: str, error: float, **chosen: Any) -> dict[str, Any]:
    row = {"round": 1, "corruption": "fog", "severity": 5, "images": 2000, "error": error}
    return {
        **{"model": "cifar_resnet20", "label": label, "batch": 50, "seed": 0, "budget": None},
        **{"mean_error": error, "mean_eager_error": error + 0.25, "differing_predictions": 0.015, "rows": [row]},
        **{"kept_bytes": 12 * MIB, "dense_bytes": 48 * MIB, "peak_step_bytes": 20 * MIB, "cpu_seconds": 0.25},
        **{"error_of_round": [error, error + 1], "rounds": 2, "prune_ratio": "auto", "versions": {"torch": "2"}},
        **{"bundle_versions": {"numpy": "2"}, "processor": "a processor", "processors": 2, **chosen},
    }


def test_page_says_what_was_measured(tmp_path: Path) -> None:
    rows = [document("full", 28.5), document("surgeon", 29.0), document("source", 48.0)]
    curve = [document("surgeon", 30.0, budget=18 * MIB, pair=0), document("static", 31.0, prune_ratio="0.8", pair=0)]
    cached = {"model": "r", "label": "tent", "published_bytes": 109 * MIB, "kept_bytes_by_their_rule": 109.0 * MIB}
    cached |= {"kept_bytes": 120 * MIB, "dense_bytes": 200 * MIB, "peak_step_bytes": 150 * MIB}
    cached |= {"mask_bytes": 3 * MIB, "other_bytes": MIB, "beside_bytes": 0}
    parts = {"table": rows, "curve": curve, "rounds": rows, "batches": rows, "cache": [cached]}
    write_page(parts, tmp_path / "methods.md")
    page = (tmp_path / "methods.md").read_text()
    assert "| surgeon | 29.00 | 29.25 | -0.25 | 1.50 % | 12.0 MiB | 25.0 % | 20.0 MiB | 0.25 |" in page
    assert "| static | 12.0 MiB | 31.00 | – | 0.8 |" in page
    assert "| surgeon | 29.0 | 30.0 |" in page and "| source | 48.0 | 49.0 |" in page
    assert "| tent | 109.0 MiB | 109.0 MiB | 120.0 MiB | 200.0 MiB | 150.0 MiB |" in page
    assert "- `tent`: the values of the rule, with their places in 29 bits each; and masks of ReLU, 3.0 MiB," in page
    assert page.count("a processor") == 1
    pictures = ("corruptions", "memory", "curve", "rounds")
    assert all((tmp_path / f"methods-cifar_resnet20-{name}.svg").stat().st_size for name in pictures)


def test_what_is_measured_anew_replaces_what_was() -> None:
    before = [document("full", 28.5), document("tent", 27.0)]
    merged = _merged(before, [document("tent", 26.0), document("tent", 25.0, batch=8)])
    assert [(one["label"], one["batch"], one["mean_error"]) for one in merged] == [
        ("full", 50, 28.5),
        ("tent", 50, 26.0),
        ("tent", 8, 25.0),
    ]
    curve = [document("static", 30.0, prune_ratio="0.5", pair=0)]
    assert [one["mean_error"] for one in _merged(curve, [document("static", 29.0, pair=0)])] == [29.0]


def test_claims_are_judged_by_what_was_measured() -> None:
    table = [document("source", 48.0), document("bn", 27.0), document("tent", 27.5), document("full", 26.0)]
    curve = [document("surgeon", 30.0, pair=0), document("static", 31.0, pair=0), document("surgeon", 1.0, pair=2)]
    curve += [document("surgeon", 33.0, kept_bytes=MIB, pair=1), document("static", 32.0, kept_bytes=MIB, pair=1)]
    found = {claim.words: (figures, holds) for claim, figures, holds in judged({"table": table, "curve": curve})}
    assert found["bn lies well below source"] == ("27.00 against 48.00 %", True)
    assert found["tent has a lower error than bn"] == ("27.50 against 27.00 %", False)
    assert found["surgeon lies below one ratio everywhere at equal kept bytes"] == (
        "at 1 of 2 points: 33.00 against 32.00, 30.00 against 31.00 %",
        False,
    )
    assert "cotta has a lower error than bn" not in found


def test_memory_and_time_come_from_the_run_that_is_made_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def results(ground: Ground, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """Errors are those of the twin's run, costs those of the other; what either has besides is no good."""
        twins = [trial.settings.eager for trial in trials]
        seen.extend(twins)
        return [document("tent", 26.0 if twin else 0.0, cpu_seconds=9 if twin else 1, step_seconds=2) for twin in twins]

    monkeypatch.setattr(Ground, "results", results)
    ground = Ground(
        Path("c.npz"), Path("f"), work_here, ["cifar_resnet20"], ["tent"], {}, Path("s.npz"), 100, "python3"
    )
    (found,) = table(ground)
    assert (found["mean_error"], found["cpu_seconds"]) == (26.0, 1)
    assert seen == [True, False]
