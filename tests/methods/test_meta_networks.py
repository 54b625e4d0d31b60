"""EcoTTA's surgery and warm-up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError
from toolchain.methods.declaration import WarmUp
from toolchain.models.meta_networks import META, ChannelMap, meta_networks, parts_of, with_meta_networks
from toolchain.models.registry import LoadedModel, load_model
from toolchain.models.source_data import SourceData, prepared, read_source_data
from toolchain.stages.warm_up import calibrate, warm_up

SAMPLE = np.load("tests/data/cifar10_sample.npz")
BRIEF = WarmUp(learning_rate=5e-2, momentum=0.9, epochs=2, batch=32)


def source(count: int) -> SourceData:
    images, labels = (torch.from_numpy(SAMPLE[name][:count]) for name in ("images", "labels"))
    return SourceData(images.movedim(3, 1), labels.long())


def seen(model: LoadedModel, start: int, stop: int) -> Tensor:
    return prepared(torch.from_numpy(SAMPLE["images"][start:stop]).movedim(3, 1), model.preprocessing)


def silence(module: nn.Module) -> None:
    """Meta networks that correct nothing."""
    for network in meta_networks(module):
        network.conv_norm.weight.data.zero_()
        network.norm = nn.Identity()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("name", "size", "blocks", "kernel"),
    [
        ("cifar_resnet20", None, [2, 1, 3, 3], 3),
        ("wrn_40_2", None, [3, 3, 6, 6], 3),
        ("resnext29_4x32d", None, [2, 1, 3, 3], 1),
        ("resnet18", 64, [2, 1, 3, 2], 3),
        ("resnet50", 64, [3, 3, 5, 5], 1),
    ],
)
def test_the_frozen_part_computes_what_the_model_did(
    name: str, size: int | None, blocks: list[int], kernel: int
) -> None:
    """The parts of WRN-40 and ResNet-50 are those of the paper, section 4."""
    model = load_model(name, None if name == "cifar_resnet20" else "none", size)
    changed = with_meta_networks(model.module, model.image_size)
    networks = meta_networks(changed)
    assert [network.conv.kernel_size[0] for network in networks] == [kernel] * 4
    assert [len(part) for part in parts_of(model.module)] == blocks
    images = torch.randn(2, 3, model.image_size, model.image_size)
    with torch.no_grad():
        expected = model.module(images)
        assert not torch.allclose(changed(images), expected, rtol=1e-2)
        silence(changed)
        torch.testing.assert_close(changed(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_no_batchnorm_is_left_in_the_frozen_part() -> None:
    for name in ("cifar_resnet20", "wrn_40_2"):
        changed = with_meta_networks(load_model(name, "none").module, 32)
        norms = [name for name, module in changed.named_modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) == 8 and all(norm.startswith(META) for norm in norms)
        assert any(isinstance(module, ChannelMap) for module in changed.modules()) == (name == "wrn_40_2")


def test_a_model_without_blocks_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    with pytest.raises(ModelError, match="at least 4 residual blocks"):
        with_meta_networks(plain, 32)


def test_first_values_leave_the_predictions_nearly_as_they_are() -> None:
    model = load_model("cifar_resnet20")
    images = seen(model, 0, 128)
    changed = with_meta_networks(model.module, 32)
    with torch.no_grad():
        expected = model.module(images).argmax(1)
        assert (changed(images).argmax(1) == expected).double().mean() < 0.6  # torch's own first values
        calibrate(changed, images)
        assert (changed.eval()(images).argmax(1) == expected).double().mean() > 0.9


def test_warm_up_repeats_itself_and_moves_the_meta_networks_only() -> None:
    model = load_model("cifar_resnet20")
    first, second = (warm_up(model, BRIEF, source(64)).module.state_dict() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    start = with_meta_networks(model.module, 32).state_dict()
    moved = {name for name, value in first.items() if not torch.equal(value, start[name])}
    assert {name for name in moved if not name.startswith(META)} == set()
    assert {f"{META}.{number}.conv.weight" for number in range(4)} <= moved


def test_warm_up_learns() -> None:
    lines: list[str] = []
    warm_up(load_model("cifar_resnet20"), WarmUp(5e-2, 0.9, 4, 32), source(128), lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines]
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_a_label_beyond_the_classes_is_refused() -> None:
    data = source(8)
    with pytest.raises(InputError, match="the label 10, and cifar_resnet20 has 10 classes"):
        warm_up(load_model("cifar_resnet20"), BRIEF, SourceData(data.images, data.labels * 0 + 10))


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8)}, "y_train"),
        ({"x_train": np.zeros((2, 3, 8, 8), np.float32), "y_train": np.zeros(2, int)}, "expected uint8"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.zeros(3, int)}, "2 integers"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.array([0, -1])}, "integers from 0"),
    ],
)
def test_source_data_that_cannot_be_used_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], complaint: str
) -> None:
    np.savez(tmp_path / "source.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=complaint):
        read_source_data(tmp_path / "source.npz")


def test_source_data_are_read(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / "source.npz", x_train=images, y_train=np.array([[3], [1]], np.uint8))
    data = read_source_data(tmp_path / "source.npz")
    assert data.labels.tolist() == [3, 1] and torch.equal(data.images[1, 2], torch.from_numpy(images[1, :, :, 2]))
    with pytest.raises(InputError, match=r"missing.npz cannot be read"):
        read_source_data(tmp_path / "missing.npz")
