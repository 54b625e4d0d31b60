"""What a sweep says of many results on a terminal."""

from typing import Any

from toolchain.evaluation.sweep.report import text

MIB = 1 << 20


def result(label: str, seed: int, error: float, **more: Any) -> dict[str, Any]:
    sizes = {"kept_bytes": None, "peak_step_bytes": None}
    return {
        "bundle": label,
        "model": "resnet50",
        "label": label,
        "seed": seed,
        "prune_ratio": "auto",
        "mean_error": error,
        "rows": [{"corruption": "fog"}],
        **sizes,
        **more,
    }


def test_a_line_is_a_mean_over_corruptions_with_the_deviation_between_seeds() -> None:
    found = [result("tent", seed, error) for seed, errors in enumerate([(10, 20), (12, 22)]) for error in errors]
    line = text(found)
    assert "resnet50" in line and "tent" in line
    assert " 16.00 % ± 1.41 (2 seeds)" in line  # 15 and 17
    assert "±" not in text(found[:2]), "of one seed nothing is known"


def test_seeds_with_other_corruptions_are_not_compared() -> None:
    noise = [{"corruption": "noise"}]
    found = [result("tent", 0, 10), result("tent", 0, 40, rows=noise), result("tent", 1, 10)]
    assert " 20.00 %  kept" in text(found)
    assert " 25.00 % ± 0.00 (2 seeds)" in text([*found, result("tent", 1, 40, rows=noise)])


def test_eager_error_is_a_mean_as_the_other() -> None:
    assert " 2.00 %  eager   3.00 %" in text([result("tent", 0, error, mean_eager_error=error + 1) for error in (1, 3)])


def test_two_bundles_of_one_name_stay_apart() -> None:
    found = [result("tent", 0, 1.0), result("tent", 0, 3.0, bundle="of other weights")]
    assert [line.split()[2] for line in text(found).splitlines()] == ["1.00", "3.00"]


def test_each_model_method_and_ratio_has_its_line() -> None:
    found = [
        result("tent", 0, 1.0),
        result("static", 0, 2.0, prune_ratio=0.5),
        result("static", 0, 3.0, prune_ratio=0.9),
    ]
    first, second, third = text([*found, result("tent", 1, 5.0)]).splitlines()
    assert "tent" in first and " 3.00 % ± 2.83" in first
    assert "static, p = 0.5" in second and "static, p = 0.9" in third


def test_sizes_are_mean_and_most_of_what_was_measured() -> None:
    sizes = ((MIB, 3 * MIB), (3 * MIB, 2 * MIB), (None, None))
    found = [result("full", 0, 1.0, kept_bytes=kept, peak_step_bytes=peak) for kept, peak in sizes]
    assert text(found).split()[-6:] == ["kept", "2.0", "MiB", "peak", "3.0", "MiB"]
    assert text([result("source", 0, 1.0)]).split()[-4:] == ["kept", "-", "peak", "-"]


def test_nothing_is_no_line() -> None:
    assert text([]) == ""
