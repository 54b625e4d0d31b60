"""What can be chosen, and what is refused in words."""

import pytest

from toolchain.errors import UsageError
from toolchain.methods import METHODS, find_method


def test_every_method_is_filed_under_its_name_and_choice() -> None:
    for name, choices in METHODS.items():
        assert all((method.name, method.train) == (name, train) for train, method in choices.items())


def test_first_choice_is_the_usual_one() -> None:
    assert find_method("surgeon").train == "full"
    assert find_method("tent").train == "bn"


def test_pruning_composes() -> None:
    assert find_method("tent").controller == "dense"
    assert find_method("tent", prune="surgeon").controller == "surgeon"


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"name": "best"}, "unknown method 'best'"),
        ({"name": "tent", "train": "full"}, "cannot train 'full': choose bn"),
        ({"name": "full", "prune": "much"}, "--prune 'much' is unknown: choose dense, static, surgeon"),
    ],
)
def test_what_no_method_has_is_refused(chosen: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        find_method(**chosen)
