"""Images as torchvision prepares them, and every one that cannot be used."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from tests.driver import tiny_bundle
from toolchain.driver.images import batches, open_images
from toolchain.driver.manifest import ModelFacts, Preprocessing
from toolchain.driver.structure import decode
from toolchain.errors import DependencyError, InputError

TINY = decode(ModelFacts, tiny_bundle.manifest()["model"])
MEAN, STD = (0.48, 0.45, 0.4), (0.22, 0.23, 0.24)


def model(resize: "int | None", crop: int, interpolation: str, scale: float = 1.0) -> ModelFacts:
    mean, std = (tuple(scale * x for x in MEAN), tuple(scale * x for x in STD))
    return ModelFacts("m", 5, 3, crop, Preprocessing(resize, interpolation, crop, scale, mean, std))


def write_image(path: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def torchvision(path: Path, resize: "int | list[int]", crop: int, interpolation: str) -> np.ndarray:
    mode = transforms.InterpolationMode(interpolation)
    steps = [transforms.Resize(resize, mode), transforms.CenterCrop(crop), transforms.ToTensor()]
    pipeline = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    return pipeline(Image.open(path).convert("RGB")).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [(61, 43), (43, 61), (40, 40), (37, 200), (20, 31)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_same_as_torchvision(tmp_path: Path, size: "tuple[int, int]", interpolation: str) -> None:
    path = write_image(tmp_path / "a.png", *size)
    (found,) = open_images(tmp_path, model(36, 32, interpolation)).read(0, 1)
    np.testing.assert_allclose(found, torchvision(path, 36, 32, interpolation), atol=1e-6)


def test_without_resize_the_image_becomes_the_crop(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 50, 40)
    (found,) = open_images(tmp_path, model(None, 32, "bilinear")).read(0, 1)
    np.testing.assert_allclose(found, torchvision(path, [32, 32], 32, "bilinear"), atol=1e-6)


def test_range_of_255(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 50, 40)
    one = open_images(tmp_path, model(36, 32, "bilinear")).read(0, 1)
    np.testing.assert_allclose(open_images(tmp_path, model(36, 32, "bilinear", 255.0)).read(0, 1), one, atol=1e-5)


def test_folder_in_order_of_names_and_the_last_batch_smaller(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.jpeg"):
        write_image(tmp_path / name, 8, 8)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "deeper").mkdir()
    source = open_images(tmp_path, TINY)
    found = list(batches(source, 2))
    assert [batch.shape for batch in found] == [(2, 3, 4, 4), (1, 3, 4, 4)]
    Image.open(tmp_path / "a.PNG").save(tmp_path / "deeper" / "alone.png")
    (alone,) = open_images(tmp_path / "deeper", TINY).read(0, 1)
    np.testing.assert_array_equal(found[0][0], alone)


def test_greyscale_and_palette_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 100).save(tmp_path / "a.png")
    Image.new("P", (8, 8), 1).save(tmp_path / "b.png")
    Image.new("RGBA", (8, 8)).save(tmp_path / "c.png")
    assert open_images(tmp_path, TINY).read(0, 3).shape == (3, 3, 4, 4)


def test_cut_image_is_named(tmp_path: Path) -> None:
    path = write_image(tmp_path / "cut.jpg", 64, 64)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"cut\.jpg is not an image"):
        open_images(tmp_path, TINY).read(0, 1)


def test_missing_pillow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DependencyError, match=r"Pillow.*\.npy"):
        open_images(tmp_path, TINY)
    np.save(tmp_path / "x.npy", tiny_bundle.random_images(2))
    assert len(open_images(tmp_path / "x.npy", TINY)) == 2


def test_array_of_any_memory_order(tmp_path: Path) -> None:
    images = tiny_bundle.random_images(3)
    np.save(tmp_path / "x.npy", np.asfortranarray(images))
    found = open_images(tmp_path / "x.npy", TINY).read(1, 3)
    assert found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, images[1:])
