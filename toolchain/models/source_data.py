"""Labelled images that a model was trained on, for methods that look at some of them while a bundle is built."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from toolchain.driver.manifest import Preprocessing
from toolchain.errors import InputError
from toolchain.npz import UNREADABLE, read_arrays

ADVICE = "write x_train and y_train with numpy.savez"


@dataclass(frozen=True)
class SourceData:
    """images: uint8 [M, 3, H, W]. labels: int64 [M]."""

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)


def read_source_data(path: Path) -> SourceData:
    """From a .npz with x_train uint8 [M, H, W, 3] and y_train, M integers from 0. Raises InputError."""
    try:
        found = read_arrays(path, [("x_train", "y_train")])
    except UNREADABLE as error:
        raise InputError(f"--source {path} cannot be read ({error}): {ADVICE}") from error
    if found is None:
        raise InputError(f"--source {path} lacks x_train and y_train: {ADVICE}")
    images, labels = found
    labels = labels.reshape(-1) if labels.ndim == 2 else labels
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
        shape = f"{images.dtype} {list(images.shape)}"
        raise InputError(f"--source {path}: x_train is {shape}, expected uint8 [M, H, W, 3]")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(f"--source {path}: y_train must hold {len(images)} integers from 0")
    return SourceData(torch.from_numpy(images).movedim(3, 1), torch.from_numpy(labels.astype(np.int64)))


def prepared(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 [N, 3, H, W] to float32 [N, 3, crop, crop], as the driver prepares photographs."""
    shorter = preprocessing.crop if preprocessing.resize is None else preprocessing.resize
    size = [shorter, shorter] if preprocessing.resize is None else [shorter]
    if images.shape[2:] != (preprocessing.crop, preprocessing.crop):
        resized = v2.functional.resize(images, size, InterpolationMode(preprocessing.interpolation), antialias=True)
        images = v2.functional.center_crop(resized, [preprocessing.crop])
    scaled = images.float() * (preprocessing.range / 255)
    normalised: Tensor = v2.functional.normalize(scaled, list(preprocessing.mean), list(preprocessing.std))
    return normalised
