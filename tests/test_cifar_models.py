"""Wide ResNets and ResNeXt: the papers' sizes, and the files that users have of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from toolchain.errors import ModelError
from toolchain.models.registry import load_model


@pytest.mark.parametrize(
    ("name", "parameters", "classes"),
    [
        ("wrn_28_10", 36_479_194, 10),
        ("wrn_40_2", 2_243_546, 10),
        ("wrn_40_2_cifar100", 2_255_156, 100),
        ("resnext29_4x32d", 6_807_882, 10),
        ("resnext29_4x32d_cifar100", 6_900_132, 100),
    ],
)
def test_sizes_are_those_of_the_papers(name: str, parameters: int, classes: int) -> None:
    model = load_model(name, "none")
    assert sum(parameter.numel() for parameter in model.module.parameters()) == parameters
    assert model.module(torch.zeros(1, 3, 32, 32)).shape == (1, classes)


@pytest.mark.parametrize("name", ["wrn_40_2", "resnext29_4x32d"])
@pytest.mark.parametrize("nesting", ["state_dict", "model_state", "model_state_dict"])
def test_files_of_robustbench_load(name: str, nesting: str, tmp_path: Path) -> None:
    wanted = load_model(name, "none").module
    for parameter in wanted.parameters():
        nn.init.normal_(parameter)
    tensors = {f"module.{key}": value for key, value in wanted.state_dict().items()}
    buffers = {"module.mu": torch.full((1, 3, 1, 1), 0.5), "sigma": torch.full((1, 3, 1, 1), 0.5)}
    torch.save({"epoch": 200, "model": "resnext", nesting: {**tensors, **buffers}}, tmp_path / "model.pt")
    found = load_model(name, str(tmp_path / "model.pt"))
    assert all(torch.equal(value, wanted.state_dict()[key]) for key, value in found.module.state_dict().items())


def test_weights_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    torch.save(load_model("wrn_40_2_cifar100", "none").module.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"fc.weight has shape \(100, 128\)"):
        load_model("wrn_40_2", str(tmp_path / "model.pt"))


def test_images_are_normalised_as_the_weights_expect() -> None:
    assert load_model("wrn_28_10", "none").preprocessing.mean == (0, 0, 0)
    assert load_model("resnext29_4x32d", "none").preprocessing.std == (0.5, 0.5, 0.5)
