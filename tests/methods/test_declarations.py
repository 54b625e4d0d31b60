"""What can be chosen, and what is refused in words."""

import pytest

from toolchain.errors import UsageError
from toolchain.methods import METHODS, Choices, find_method


def test_every_method_is_filed_under_its_name_and_choice() -> None:
    for name, choices in METHODS.items():
        assert all((method.name, method.train) == (name, train) for train, method in choices.items())


def test_first_choice_is_the_usual_one() -> None:
    assert find_method("surgeon").train == "full"
    assert find_method("tent").train == "bn"


def test_pruning_composes() -> None:
    assert find_method("tent").controller == "dense"
    assert find_method("tent", Choices(prune="surgeon")).controller == "surgeon"


@pytest.mark.parametrize(
    ("name", "choices", "complaint"),
    [
        ("best", Choices(), "unknown method 'best'"),
        ("tent", Choices(train="full"), "cannot train 'full': it trains bn"),
        ("full", Choices(prune="much"), "--prune 'much' is unknown: choose dense, static, surgeon"),
        ("bn", Choices(prune="static"), "trains nothing, so nothing waits to be pruned"),
        ("eata", Choices(selection=True), "--selection: method eata has a loss of its own"),
        ("cotta", Choices(consistency=True), "--consistency: method cotta has a loss of its own"),
        ("ecotta", Choices(selection=True), "--selection: method ecotta has a loss of its own"),
        ("ecotta", Choices(consistency=True), "--consistency: method ecotta has a loss of its own"),
        ("mecta", Choices(consistency=True), "--consistency: method mecta has a loss of its own"),
        ("mecta", Choices(prune="static"), "--prune: method mecta itself decides"),
        ("tent", Choices(source_samples=8), "--source-samples: method tent does not mix statistics"),
    ],
)
def test_what_no_method_has_is_refused(name: str, choices: Choices, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        find_method(name, choices)
