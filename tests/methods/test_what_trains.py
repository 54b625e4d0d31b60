"""Which parameters of a ResNet each method trains."""

from collections.abc import Callable

import pytest
from torch import nn

from toolchain.artifacts import Traced
from toolchain.methods import Choices, find_method
from toolchain.models.registry import load_model
from toolchain.stages.differentiate import trained_parameters
from toolchain.stages.trace import trace

Chooses = Callable[[str, nn.Module, str], bool]
"""By the name of a module, the module, and which of its parameters."""


def every(name: str, module: nn.Module, parameter: str) -> bool:
    return True


def norms(name: str, module: nn.Module, parameter: str) -> bool:
    return isinstance(module, nn.BatchNorm2d)


def early_norms(name: str, module: nn.Module, parameter: str) -> bool:
    return norms(name, module, parameter) and not name.startswith("layer4")


def all_but_linear(name: str, module: nn.Module, parameter: str) -> bool:
    return not isinstance(module, nn.Linear)


def weights(name: str, module: nn.Module, parameter: str) -> bool:
    return parameter == "weight"


def weights_of_norms(name: str, module: nn.Module, parameter: str) -> bool:
    return norms(name, module, parameter) and weights(name, module, parameter)


@pytest.fixture(scope="module")
def resnet18() -> tuple[nn.Module, Traced]:
    model = load_model("resnet18", "none", 32)
    return model.module, trace(model)


@pytest.mark.parametrize(
    ("method", "train", "chooses"),
    [
        ("tent", None, norms),
        ("eata", None, norms),
        ("mecta", None, norms),
        ("sar", None, early_norms),
        ("law", None, all_but_linear),
        ("cotta", None, every),
        ("full", None, every),
        ("surgeon", None, weights),
        ("surgeon", "bn", weights_of_norms),
        ("static", None, weights),
    ],
)
def test_what_trains(resnet18: tuple[nn.Module, Traced], method: str, train: str | None, chooses: Chooses) -> None:
    module, traced = resnet18
    expected = {
        f"{name}.{parameter}"
        for name, part in module.named_modules()
        for parameter, _ in part.named_parameters(recurse=False)
        if chooses(name, part, parameter)
    }
    assert set(trained_parameters(traced, find_method(method, Choices(train)))) == expected
