"""Images in arrays: CIFAR-10-C and CIFAR-100-C as published, and clean images that are corrupted here."""

from pathlib import Path

import numpy as np

from toolchain.corruptions import CORRUPTIONS, corrupt
from toolchain.driver.manifest import ModelFacts
from toolchain.errors import InputError
from toolchain.evaluation.data.domain import (
    CLEAN,
    Domain,
    Numbers,
    Pixels,
    in_order,
    require_corruption,
    require_images,
    require_labels,
)
from toolchain.npz import UNREADABLE, read_arrays

SEVERITIES = 5
NPZ_NAMES = (("x_test", "y_test"), ("images", "labels"))


class CifarC:
    """Hendrycks & Dietterich 2019: CORRUPTION.npy, uint8 [5 * M, 32, 32, 3], severity 1 first; labels.npy [5 * M]."""

    def __init__(self, folder: Path, model: ModelFacts, limit: int | None) -> None:
        self._folder, self._model, self._limit = folder, model, limit
        self._labels = require_labels(_load(folder / "labels.npy"), model, folder / "labels.npy")
        self.corruptions = in_order([path.stem for path in folder.glob("*.npy") if path.name != "labels.npy"])

    def domain(self, corruption: str, severity: int) -> Domain:
        require_corruption(corruption, self, self._folder)
        path = self._folder / f"{corruption}.npy"
        pixels, count = _load(path), len(self._labels) // SEVERITIES
        require_images(pixels, len(self._labels), self._model, path)
        part = slice((severity - 1) * count, (severity - 1) * count + min(count, self._limit or count))
        return Domain(corruption, severity, self._labels[part], lambda numbers: pixels[part][numbers])


class CleanArrays:
    """A .npz file with clean images uint8 [M, S, S, 3] and labels [M] or [M, 1], as `x_test` and `y_test`."""

    def __init__(self, path: Path, model: ModelFacts, limit: int | None, seed: int) -> None:
        pixels, labels = _load_npz(path)
        labels = require_labels(labels[:, 0] if labels.shape[1:] == (1,) else labels, model, path)
        require_images(pixels, len(labels), model, path)
        self._path, self._seed = path, seed
        self._pixels, self._labels = pixels[:limit], labels[:limit]
        self.corruptions = [*CORRUPTIONS, CLEAN]

    def domain(self, corruption: str, severity: int) -> Domain:
        require_corruption(corruption, self, self._path)
        if corruption == CLEAN:
            return Domain(CLEAN, 0, self._labels, lambda numbers: self._pixels[numbers])
        return Domain(corruption, severity, self._labels, lambda numbers: self._read(corruption, severity, numbers))

    def _read(self, corruption: str, severity: int, numbers: Numbers) -> Pixels:
        return corrupt(self._pixels[numbers], corruption, severity, self._seed, numbers.tolist())


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable .npy file ({error}): fetch it again") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays, as numpy.savez writes them: fetch it again")
    return array


def _load_npz(path: Path) -> tuple[Pixels, np.ndarray]:
    try:
        found = read_arrays(path, NPZ_NAMES)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable .npz file ({error}): write it again") from error
    if found is None:
        raise InputError(
            f"{path} lacks x_test and y_test: write clean images, uint8 [M, S, S, 3], and labels with np.savez"
        )
    images, labels = found
    return images, labels
