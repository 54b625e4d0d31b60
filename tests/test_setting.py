"""Whose numbers a model gets that nobody chose any for."""

import pytest
import torch
from torch import nn

from toolchain.models.registry import LoadedModel, cifar_preprocessing, load_model
from toolchain.setting import nearest_setting


def model_of(module: nn.Module, image_size: int) -> LoadedModel:
    return LoadedModel("model", module.eval(), image_size, cifar_preprocessing(0.0, 1.0))


def classifier(classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))


@pytest.mark.parametrize(
    ("classes", "image_size", "setting"),
    [
        (10, 32, "cifar10"),
        (10, 224, "cifar10"),
        (100, 32, "cifar100"),
        (1000, 224, "imagenet"),
        (1000, 32, "cifar10"),
        (5, 64, "imagenet"),
        (5, 63, "cifar10"),
    ],
)
def test_classes_decide_then_size(classes: int, image_size: int, setting: str) -> None:
    assert nearest_setting(model_of(classifier(classes), image_size)) == setting


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize("module", [nn.Conv2d(7, 1, 1), nn.Conv2d(3, 10, 1), Pair()])
def test_what_gives_no_logits_is_left_for_the_trace_to_refuse(module: nn.Module) -> None:
    assert nearest_setting(model_of(module, 32)) == "cifar10"


def test_models_of_the_papers() -> None:
    names = {"cifar_resnet20": "cifar10", "resnext29_4x32d_cifar100": "cifar100", "resnet18": "imagenet"}
    assert {name: nearest_setting(load_model(name, "none")) for name in names} == names
