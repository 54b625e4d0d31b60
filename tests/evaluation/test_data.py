"""Labelled images in each published format, and every place that holds something else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.corruptions import CORRUPTIONS, corrupt
from toolchain.driver.manifest import ModelFacts, Preprocessing
from toolchain.errors import InputError, UsageError
from toolchain.evaluation.data import open_data

SIDE, COUNT = 32, 6


def model(classes: int = 10, side: int = SIDE) -> ModelFacts:
    half = (0.5, 0.5, 0.5)
    return ModelFacts("m", classes, 3, side, Preprocessing(side + 4, "bilinear", side, 1.0, half, half))


def random_pixels(count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def cifar_c(tmp_path: Path) -> Path:
    np.save(tmp_path / "labels.npy", np.tile(np.arange(COUNT), 5).astype(np.uint8))
    for seed, name in enumerate(("fog", "contrast", "speckle_noise")):
        np.save(tmp_path / f"{name}.npy", random_pixels(5 * COUNT, seed=seed))
    return tmp_path


def test_severities_of_cifar_c_lie_one_behind_the_other(cifar_c: Path) -> None:
    data = open_data(cifar_c, model(), None, 0)
    assert data.corruptions == ["fog", "contrast", "speckle_noise"], "the papers' order, then others"
    domain = data.domain("contrast", 3)
    assert domain.labels.tolist() == list(range(COUNT))
    expected = random_pixels(5 * COUNT, seed=1)[2 * COUNT : 3 * COUNT]
    np.testing.assert_array_equal(domain.read(np.array([4, 1])), expected[[4, 1]])
    assert len(open_data(cifar_c, model(), 2, 0).domain("fog", 5).labels) == 2


def test_clean_arrays_are_corrupted_image_by_image(tmp_path: Path) -> None:
    pixels = random_pixels(COUNT)
    np.savez(tmp_path / "cifar10.npz", x_test=pixels, y_test=np.arange(COUNT))
    data = open_data(tmp_path, model(), None, 7)
    assert data.corruptions == [*CORRUPTIONS, "clean"]
    whole = corrupt(pixels, "gaussian_noise", 4, seed=7)
    found = data.domain("gaussian_noise", 4).read(np.array([5, 0]))
    np.testing.assert_array_equal(found, whole[[5, 0]])
    assert not np.array_equal(found, corrupt(pixels[[5, 0]], "gaussian_noise", 4, seed=7)), "noise is the image's own"
    np.testing.assert_array_equal(data.domain("clean", 5).read(np.arange(COUNT)), pixels)


@pytest.mark.parametrize("category", ["", "noise"])
def test_imagenet_c_folders(tmp_path: Path, category: str) -> None:
    place = tmp_path / category / "shot_noise" / "5"
    shown = {name: random_pixels(2, seed=seed) for seed, name in enumerate(("n01", "n02", "n10"))}
    for name, (one, other) in shown.items():
        save_image(place / name / "a.png", one)
        save_image(place / name / "b.PNG", other)
    domain = open_data(tmp_path, model(classes=3), None, 0).domain("shot_noise", 5)
    found = domain.read(np.arange(6))
    assert sorted(domain.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    for pixels, label in zip(found, domain.labels, strict=True):
        assert any(np.array_equal(pixels, image) for image in list(shown.values())[label])
    assert domain.labels.tolist() != sorted(domain.labels.tolist()), "not shown class by class"
    with pytest.raises(InputError, match="choose another --severity"):
        open_data(tmp_path, model(classes=3), None, 0).domain("shot_noise", 4)


def test_class_folders_are_cut_then_corrupted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save_image(tmp_path / name / "large.png", random_pixels(1, 50)[0])
    data = open_data(tmp_path, model(classes=2), None, 3)
    clean = data.domain("clean", 5)
    assert clean.read(np.array([0, 1])).shape == (2, SIDE, SIDE, 3)
    expected = corrupt(clean.read(np.array([1])), "shot_noise", 2, seed=3, numbers=[1])
    np.testing.assert_array_equal(data.domain("shot_noise", 2).read(np.array([1])), expected)


def test_folders_named_by_numbers_are_classes(tmp_path: Path) -> None:
    for name in ("7", "3"):
        save_image(tmp_path / name / "a.png", random_pixels(1)[0])
    domain = open_data(tmp_path, model(classes=10), None, 0).domain("clean", 5)
    assert sorted(domain.labels.tolist()) == [3, 7]


def test_some_folders_of_classes_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "n01" / "a.png", random_pixels(1)[0])
    with pytest.raises(InputError, match="1 folders of classes, the model knows 10"):
        open_data(tmp_path, model(), None, 0)


def test_a_place_without_images_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"CORRUPTION/SEVERITY/CLASS"):
            open_data(path, model(), None, 0)


def test_images_of_another_side_are_refused(cifar_c: Path) -> None:
    with pytest.raises(InputError, match=r"this model take uint8 \[\d+, 64, 64, 3\]"):
        open_data(cifar_c, model(side=64), None, 0).domain("fog", 5)


def test_labels_may_be_a_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x_test=random_pixels(4), y_test=np.arange(4).reshape(4, 1))
    assert open_data(tmp_path / "images.npz", model(), None, 0).domain("fog", 5).labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (random_pixels(4)[:0], np.zeros(0, np.int64), r"has labels int64 \[0\]: expected an integer for each"),
        (random_pixels(4), np.zeros((4, 2), np.int64), r"has labels int64 \[4, 2\]: expected an integer for each"),
        (random_pixels(4), np.zeros(9, np.int64), r"9 labels and this model take uint8 \[9, 32, 32, 3\]"),
        (random_pixels(4).astype(np.float32), np.zeros(4, np.int64), r"holds images float32 \[4, 32, 32, 3\]"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, words: str
) -> None:
    np.savez(tmp_path / "images.npz", x_test=images, y_test=labels)
    with pytest.raises(InputError, match=words):
        open_data(tmp_path / "images.npz", model(), None, 0)


def test_labels_beyond_the_model_are_refused(cifar_c: Path) -> None:
    with pytest.raises(InputError, match="labels 0 to 5, the model knows 0 to 2"):
        open_data(cifar_c, model(classes=3), None, 0)


def test_an_unknown_corruption_is_refused(cifar_c: Path) -> None:
    with pytest.raises(UsageError, match="no corruption 'rain': choose from fog"):
        open_data(cifar_c, model(), None, 0).domain("rain", 5)


def damaged(path: Path) -> None:
    """An archive with one byte of its content changed."""
    np.savez_compressed(path, x_test=random_pixels(COUNT), y_test=np.arange(COUNT))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def halved(path: Path) -> None:
    np.savez(path, x_test=random_pixels(COUNT), y_test=np.arange(COUNT))
    path.write_bytes(path.read_bytes()[:5000])


def lone(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, random_pixels(COUNT))


@pytest.mark.parametrize("write", [damaged, halved, lone])
def test_archives_that_are_none_are_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "images.npz")
    with pytest.raises(InputError, match=r"images.npz is not a readable .npz file"):
        open_data(tmp_path / "images.npz", model(), None, 0)


@pytest.mark.parametrize("labels", [np.array(["a"] * COUNT), np.full(COUNT, np.nan), np.zeros((COUNT, 2), np.int64)])
def test_labels_that_are_no_integers_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "images.npz", x_test=random_pixels(COUNT), y_test=labels)
    with pytest.raises(InputError, match="expected an integer for each of M images"):
        open_data(tmp_path / "images.npz", model(), None, 0)


def test_archive_in_place_of_an_array_is_refused(cifar_c: Path) -> None:
    with (cifar_c / "labels.npy").open("wb") as file:
        np.savez(file, labels=np.arange(COUNT))
    with pytest.raises(InputError, match="holds several arrays"):
        open_data(cifar_c, model(), None, 0)


def test_one_severity_is_enough(tmp_path: Path) -> None:
    save_image(tmp_path / "fog" / "3" / "0" / "a.png", random_pixels(1)[0])
    assert len(open_data(tmp_path, model(), None, 0).domain("fog", 3).labels) == 1
