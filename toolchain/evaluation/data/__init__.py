"""Labelled images: where they are and in which format, found out from what lies there."""

from pathlib import Path

from toolchain.driver.manifest import ModelFacts
from toolchain.errors import InputError
from toolchain.evaluation.data.arrays import CifarC, CleanArrays
from toolchain.evaluation.data.domain import CLEAN, Dataset, Domain
from toolchain.evaluation.data.folders import ClassFolders, ImageNetC

FORMATS = (
    "a folder of CIFAR-10-C (labels.npy and a .npy file a corruption), of ImageNet-C (CORRUPTION/SEVERITY/CLASS/"
    "*.JPEG) or of clean images (CLASS/*.jpg), or a .npz file of clean images (x_test and y_test)"
)


def open_data(path: Path, model: ModelFacts, limit: int | None, seed: int) -> Dataset:
    """What lies at `path`, for a model. limit: images of each domain, None: all.

    seed: of the corruption of clean images, and of the order and choice of images that lie in folders of classes.
    Raises InputError, DependencyError.
    """
    if path.suffix == ".npz" and path.is_file():
        return CleanArrays(path, model, limit, seed)
    if not path.is_dir():
        raise InputError(f"--data {path} is not there: name {FORMATS}")
    if (path / "labels.npy").is_file():
        return CifarC(path, model, limit)
    if (path / "cifar10.npz").is_file():
        return CleanArrays(path / "cifar10.npz", model, limit, seed)
    if ImageNetC.fits(path):
        return ImageNetC(path, model, limit, seed)
    if ClassFolders.fits(path):
        return ClassFolders(path, model, limit, seed)
    raise InputError(f"--data {path} holds nothing known: name {FORMATS}")


__all__ = ["CLEAN", "Dataset", "Domain", "open_data"]
