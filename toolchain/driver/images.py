"""Images from a folder or an array, decoded batch by batch. The only file that imports Pillow, and only for folders."""

from pathlib import Path
from typing import Any, Iterator, List, Tuple, Union

import numpy as np

from toolchain.driver.manifest import ModelFacts, Preprocessing
from toolchain.errors import DependencyError, InputError

SUFFIXES = (".jpg", ".jpeg", ".png")


class ImageFolder:
    """The .jpg, .jpeg and .png files of one folder, in the order of their names."""

    def __init__(self, folder: Path, model: ModelFacts) -> None:
        """Raises InputError if the folder has no image, DependencyError without Pillow."""
        self._pillow = _import_pillow()
        self._preprocessing = model.preprocessing
        self._paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise InputError(f"{folder} holds no {', '.join(SUFFIXES)} file: name another folder with --images")

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images float32 [n, 3, crop, crop]. Raises InputError naming the file that is not an image."""
        return np.stack([self._decode(path) for path in self._paths[start:stop]])

    def _decode(self, path: Path) -> np.ndarray:
        try:
            with self._pillow.open(path) as image:
                pixels = fit_to_model(image.convert("RGB"), self._preprocessing, self._pillow)
        except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
            raise InputError(f"{path} is not an image that can be decoded ({error}): remove or replace it") from error
        return normalise(pixels, self._preprocessing)


class ImageArray:
    """A .npy file with float32 [M, C, H, W], already preprocessed; read as needed, never whole."""

    def __init__(self, path: Path, model: ModelFacts) -> None:
        """Raises InputError if the array is not what the model takes."""
        self._array = _map_array(path)
        expected = (model.channels, model.image_size, model.image_size)
        if self._array.dtype != np.float32 or self._array.shape[1:] != expected or self._array.ndim != 4:
            raise InputError(
                f"{path} holds {self._array.dtype} {list(self._array.shape)}: "
                f"expected float32 [M, {', '.join(map(str, expected))}], already preprocessed"
            )
        if not len(self._array):
            raise InputError(f"{path} holds no image: name another file with --images")

    def __len__(self) -> int:
        return len(self._array)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.array(self._array[start:stop], order="C")


ImageSource = Union[ImageFolder, ImageArray]


def open_images(path: Path, model: ModelFacts) -> ImageSource:
    """Images for a model from a folder or a .npy file. Raises InputError, DependencyError."""
    if path.is_dir():
        return ImageFolder(path, model)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a folder of images or a .npy file with --images")
    if path.suffix != ".npy":
        raise InputError(f"{path} is neither a folder nor a .npy file: put images into a folder and name that")
    return ImageArray(path, model)


def batches(source: ImageSource, size: int) -> Iterator[np.ndarray]:
    """Batches of `size` images; the last one may be smaller."""
    for start in range(0, len(source), size):
        yield source.read(start, min(start + size, len(source)))


def _import_pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError(
            "a folder of images needs Pillow: install it (pip install pillow), "
            "or give a .npy file of preprocessed images"
        ) from error
    return Image


def _map_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a readable .npy file ({error}): write it with numpy.save") from error


def fit_to_model(image: Any, how: Preprocessing, pillow: Any) -> np.ndarray:
    """uint8 [crop, crop, 3] from an RGB image, as torchvision's Resize (antialias) and CenterCrop make it."""
    filters = {"bilinear": pillow.BILINEAR, "bicubic": pillow.BICUBIC}
    image = image.resize(_resized(image.size, how), filters[how.interpolation])
    left, top = (round((length - how.crop) / 2.0) for length in image.size)
    return np.asarray(image.crop((left, top, left + how.crop, top + how.crop)))


def normalise(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    """float32 [..., 3, H, W] from uint8 [..., H, W, 3], as torchvision's ToTensor and Normalize make it."""
    scaled = pixels.astype(np.float32) / np.float32(255.0 / how.range)
    normalised = (scaled - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(np.moveaxis(normalised, -1, -3))


def _resized(size: Tuple[int, int], how: Preprocessing) -> List[int]:
    """Width and height after the resize, rounded as torchvision does."""
    if how.resize is None:
        return [how.crop, how.crop]
    short = min(size)
    return [how.resize if length == short else int(how.resize * length / short) for length in size]
