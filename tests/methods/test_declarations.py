"""What can be chosen, and what is refused in words."""

import itertools
from collections import Counter

import pytest

from toolchain.errors import UsageError
from toolchain.methods import METHODS, SETTINGS, Choices, find_method
from toolchain.methods.declaration import Probe


def test_every_choice_is_declared_once_for_every_data_set() -> None:
    for name, declared in METHODS.items():
        assert {method.name for method in declared} == {name}
        found = Counter((method.train, setting) for method in declared for setting in method.settings)
        assert found == Counter(itertools.product({method.train for method in declared}, SETTINGS))


def test_first_choice_is_the_usual_one() -> None:
    assert find_method("surgeon").train == "full"
    assert find_method("tent").train == "bn"


@pytest.mark.parametrize(
    ("name", "train", "setting", "numbers"),
    [
        ("tent", None, "cifar100", {"learning_rate": 1e-3, "beta1": 0.9}),
        ("tent", None, "imagenet", {"learning_rate": 2.5e-4, "momentum": 0.9, "nesterov": 0}),
        (
            "sar",
            None,
            "imagenet",
            {"learning_rate": 2.5e-4, "share": 0.4, "radius": 0.05, "decay": 0.9, "reset_below": 0.2},
        ),
        ("eata", None, "cifar10", {"learning_rate": 2.5e-3, "redundancy": 0.4, "strength": 1}),
        ("eata", None, "imagenet", {"learning_rate": 2.5e-4, "redundancy": 0.05, "strength": 2000}),
        ("cotta", None, "cifar10", {"decay": 0.999, "views": 32}),
        ("cotta", None, "cifar10", {"learning_rate": 1e-3, "confidence": 0.92, "restore": 0.01, "symmetric": 0}),
        ("cotta", None, "cifar100", {"learning_rate": 1e-3, "confidence": 0.72, "restore": 0.01, "symmetric": 0}),
        ("cotta", None, "imagenet", {"learning_rate": 0.01, "momentum": 0.9, "nesterov": 1, "confidence": 0.1}),
        ("cotta", None, "imagenet", {"restore": 0.001, "symmetric": 1}),
        ("law", None, "cifar10", {"learning_rate": 1e-3, "temperature": 1}),
        ("law", None, "cifar100", {"learning_rate": 5e-5, "temperature": 0.6}),
        ("law", None, "imagenet", {"learning_rate": 2e-4, "temperature": 1}),
        ("ecotta", None, "cifar100", {"learning_rate": 5e-3, "warm_up_epochs": 10}),
        ("ecotta", None, "imagenet", {"learning_rate": 5e-3, "warm_up_epochs": 3}),
        ("mecta", None, "cifar10", {"learning_rate": 2.5e-3, "threshold": 0.00125}),
        ("mecta", None, "cifar100", {"learning_rate": 1e-4, "threshold": 0.0025}),
        ("mecta", None, "imagenet", {"learning_rate": 1e-4, "threshold": 0.00125}),
        ("full", None, "imagenet", {"learning_rate": 5e-6}),
        ("static", "bn", "cifar100", {"learning_rate": 3e-4}),
        ("surgeon", "full", "cifar10", {"learning_rate": 2.2e-5}),
        ("surgeon", "full", "cifar100", {"learning_rate": 1e-5}),
        ("surgeon", "full", "imagenet", {"learning_rate": 5e-6}),
        ("surgeon", "bn", "cifar10", {"learning_rate": 1e-3}),
        ("surgeon", "bn", "cifar100", {"learning_rate": 3e-4}),
        ("surgeon", "bn", "imagenet", {"learning_rate": 2e-4}),
    ],
)
def test_numbers_of_each_paper(name: str, train: str | None, setting: str, numbers: dict[str, float]) -> None:
    found = find_method(name, Choices(train, setting=setting)).numbers
    assert {key: found[key] for key in numbers} == numbers


def test_symmetric_teacher_has_both_terms() -> None:
    assert find_method("cotta", Choices(setting="imagenet")).loss == ("targets", "log_targets")
    assert find_method("cotta").loss == ("targets",)


def test_numbers_are_those_of_cifar_10_unless_told() -> None:
    for name in METHODS:
        assert find_method(name) == find_method(name, Choices(setting="cifar10"))


def test_filters_that_mecta_borrows_are_those_of_the_data_set() -> None:
    for setting, cosine in (("cifar10", 0.4), ("cifar100", 0.05), ("imagenet", 0.05)):
        selection = find_method("mecta", Choices(selection=True, setting=setting)).selection
        assert selection is not None and selection.redundancy == cosine


def test_pruning_composes() -> None:
    assert find_method("tent").controller == "dense"
    assert find_method("tent", Choices(prune="surgeon")).controller == "surgeon"


@pytest.mark.parametrize(
    ("name", "choices", "complaint"),
    [
        ("best", Choices(), "unknown method 'best'"),
        ("tent", Choices(setting="cifar"), "--setting 'cifar' is unknown: choose cifar10, cifar100, imagenet"),
        ("tent", Choices(train="full"), "cannot train 'full': it trains bn"),
        ("full", Choices(prune="much"), "--prune 'much' is unknown: choose dense, static, surgeon"),
        ("bn", Choices(prune="static"), "trains nothing, so nothing waits to be pruned"),
        ("eata", Choices(selection=True), "--selection: method eata has a loss of its own"),
        ("cotta", Choices(consistency=True), "--consistency: method cotta has a loss of its own"),
        ("ecotta", Choices(selection=True), "--selection: method ecotta has a loss of its own"),
        ("ecotta", Choices(consistency=True), "--consistency: method ecotta has a loss of its own"),
        ("mecta", Choices(consistency=True), "--consistency: method mecta has a loss of its own"),
        ("mecta", Choices(prune="static"), "--prune: method mecta itself decides"),
        ("mecta", Choices(source_samples=8), "--source-samples: method mecta has statistics of its own"),
        ("source", Choices(source_samples=8), "--source-samples: method source has statistics of its own"),
        ("tent", Choices(probe_ratio=0.5), "--probe-ratio: method tent has no probe"),
        ("surgeon", Choices(probe_ratio=1.5), "--probe-ratio = 1.5: choose a number from 0 to 1"),
    ],
)
def test_what_no_method_has_is_refused(name: str, choices: Choices, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        find_method(name, choices)


def test_probe_is_pruned_as_chosen() -> None:
    assert find_method("tent", Choices(prune="surgeon", probe_ratio=0.0)).probe == Probe(samples=1, prune_ratio=0.0)
    assert find_method("surgeon").probe == Probe(samples=1, prune_ratio=0.9)


def test_small_batches_have_a_smaller_rate_where_the_paper_says_so() -> None:
    """SAR's code: 2 · 2.5e-4 · N / 64 below 32 images, and twice that for one."""
    rates = [find_method("sar").learning_rate(batch) for batch in (1, 2, 8, 32, 50)]
    assert rates == pytest.approx([1.5625e-5, 1.5625e-5, 6.25e-5, 2.5e-4, 2.5e-4])
    assert find_method("tent").learning_rate(1) == 1e-3
    assert find_method("bn").learning_rate(8) == 0
