"""The CIFAR ResNets: the paper's size, export with a free batch, and the error of the shipped weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from toolchain.models import cifar_resnet
from toolchain.models.cifar_resnet import resnet20, resnet56, subsample_and_widen

SAMPLE = Path(__file__).parent / "data" / "cifar10_sample.npz"
WEIGHTS = Path(cifar_resnet.__file__).parent / "weights" / "cifar_resnet20.safetensors"
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def sample() -> tuple[Tensor, Tensor]:
    """512 normalised test images and their labels."""
    with np.load(SAMPLE) as file:
        pixels, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    return ((pixels.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2), labels.long()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = resnet20()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


@torch.no_grad()
def error(model: nn.Module, sample: tuple[Tensor, Tensor]) -> float:
    images, labels = sample
    return 100 * float((model(images).argmax(1) != labels).double().mean())


def test_sizes_are_those_of_the_paper() -> None:
    sizes = [sum(parameter.numel() for parameter in make().parameters()) for make in (resnet20, resnet56)]
    assert sizes == [269_722, 853_018]


def test_shortcut_subsamples_and_pads_with_zeros_on_both_sides() -> None:
    x = torch.randn(2, 4, 6, 6)
    y = subsample_and_widen(x, 2, 4)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any() and not y[:, 6:].any()


def test_export_leaves_the_batch_free() -> None:
    model = resnet20().eval()
    free = ({0: torch.export.Dim("batch", min=1)},)
    exported = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=free).module()
    for count in (1, 5):
        x = torch.randn(count, 3, 32, 32)
        torch.testing.assert_close(exported(x), model(x))


def test_shipped_weights_classify_real_images(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    assert error(trained, sample) < 8


def test_wrong_preprocessing_is_noticed(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    images, labels = sample
    assert error(trained, (images.flip(1) * 3, labels)) > 20
