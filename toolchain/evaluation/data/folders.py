"""Images in folders of classes: ImageNet-C as published, and clean images that are corrupted here.

The classes are numbered by the order of their folders' names, as ImageNet's are, or by the names where all are numbers.
The images are shown in an order chosen by the seed: by class, every batch would be of one class.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from toolchain.corruptions import CORRUPTIONS, corrupt
from toolchain.driver.images import SUFFIXES, fit_to_model
from toolchain.driver.manifest import ModelFacts
from toolchain.errors import DependencyError, InputError
from toolchain.evaluation.data.domain import (
    CLEAN,
    Domain,
    Numbers,
    Pixels,
    in_order,
    require_corruption,
    require_labels,
)


class Photographs:
    """Files of one folder of class folders, decoded when they are read."""

    def __init__(self, folder: Path, model: ModelFacts, limit: int | None, seed: int) -> None:
        """Raises InputError for a folder whose classes are not the model's."""
        self._model = model
        classes = _classes(folder, model)
        found = [(path, number) for number, one in classes for path in _images(one)]
        if not found:
            raise InputError(f"{folder} holds no images in folders of classes, CLASS/*.jpg")
        chosen = np.random.default_rng(seed).permutation(len(found))[:limit]
        self._paths = [found[index][0] for index in chosen]
        self.labels: Numbers = np.array([found[index][1] for index in chosen], np.int64)
        require_labels(self.labels, model, folder)

    def read(self, numbers: Numbers) -> Pixels:
        """Resized and cut as the model's preprocessing says; images that have the model's size already are left."""
        return np.stack([_decode(self._paths[number], self._model) for number in numbers])


class ImageNetC:
    """Hendrycks & Dietterich 2019: CORRUPTION/SEVERITY/CLASS/*.JPEG, or the same below one more folder."""

    def __init__(self, folder: Path, model: ModelFacts, limit: int | None, seed: int) -> None:
        self._folder, self._model, self._limit, self._seed = folder, model, limit, seed
        self._places = {path.name: path for path in _corruption_folders(folder)}
        self.corruptions = in_order(list(self._places))

    @staticmethod
    def fits(folder: Path) -> bool:
        return any(_corruption_folders(folder))

    def domain(self, corruption: str, severity: int) -> Domain:
        require_corruption(corruption, self, self._folder)
        place = self._places[corruption] / str(severity)
        if not place.is_dir():
            raise InputError(f"{place} is missing: fetch it, or choose another --severity")
        found = Photographs(place, self._model, self._limit, self._seed)
        return Domain(corruption, severity, found.labels, found.read)


class ClassFolders:
    """Clean images, CLASS/*.jpg: resized and cut for the model, then corrupted, as ImageNet-C was made."""

    def __init__(self, folder: Path, model: ModelFacts, limit: int | None, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._images = Photographs(folder, model, limit, seed)
        self.corruptions = [*CORRUPTIONS, CLEAN]

    @staticmethod
    def fits(folder: Path) -> bool:
        return any(_images(one) for one in folder.iterdir() if one.is_dir())

    def domain(self, corruption: str, severity: int) -> Domain:
        require_corruption(corruption, self, self._folder)
        if corruption == CLEAN:
            return Domain(CLEAN, 0, self._images.labels, self._images.read)
        return Domain(
            corruption, severity, self._images.labels, lambda numbers: self._read(corruption, severity, numbers)
        )

    def _read(self, corruption: str, severity: int, numbers: Numbers) -> Pixels:
        return corrupt(self._images.read(numbers), corruption, severity, self._seed, numbers.tolist())


def _corruption_folders(folder: Path) -> Iterator[Path]:
    for pattern in ("*/[1-5]", "*/*/[1-5]"):
        yield from (path.parent for path in folder.glob(pattern) if path.is_dir() and path.parent.name in CORRUPTIONS)


def _classes(folder: Path, model: ModelFacts) -> list[tuple[int, Path]]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    if folders and all(path.name.isdecimal() for path in folders):
        return [(int(path.name), path) for path in folders]
    if len(folders) != model.classes:
        raise InputError(
            f"{folder} has {len(folders)} folders of classes, the model knows {model.classes}: the folders are "
            "numbered by the order of their names, so all have to be there; or name each by its class's number"
        )
    return list(enumerate(folders))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _decode(path: Path, model: ModelFacts) -> Pixels:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError("folders of images need Pillow: pip install 'toolchain[evaluate]'") from error
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not an image that can be decoded ({error}): remove or replace it") from error
    fitting = rgb.size == (model.image_size, model.image_size)
    return np.asarray(rgb) if fitting else fit_to_model(rgb, model.preprocessing, Image)
