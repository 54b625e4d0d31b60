"""A domain: images that were all corrupted in one way, with their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from toolchain.corruptions import CORRUPTIONS
from toolchain.driver.manifest import ModelFacts
from toolchain.errors import InputError, UsageError

CLEAN = "clean"
Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Domain:
    """labels [M]. read: from numbers [n] of images to their pixels, uint8 [n, S, S, 3], S as the model takes them."""

    corruption: str
    severity: int
    labels: Numbers = field(repr=False)
    read: Callable[[Numbers], Pixels] = field(repr=False)


class Dataset(Protocol):
    """corruptions: those that `domain` has, in the papers' order; the last may be CLEAN, of severity 0."""

    @property
    def corruptions(self) -> Sequence[str]: ...

    def domain(self, corruption: str, severity: int) -> Domain: ...


def in_order(found: Sequence[str]) -> list[str]:
    """The corruptions of the papers in their order, then others by name."""
    known = [name for name in CORRUPTIONS if name in found]
    return known + sorted(set(found) - set(known))


def require_corruption(wanted: str, dataset: Dataset, where: object) -> None:
    if wanted not in dataset.corruptions:
        raise UsageError(f"{where} has no corruption {wanted!r}: choose from {', '.join(dataset.corruptions)}")


def require_images(pixels: np.ndarray, count: int, model: ModelFacts, where: object) -> None:
    """`count` images, uint8 [count, S, S, 3]."""
    side = model.image_size
    if pixels.dtype != np.uint8 or pixels.shape != (count, side, side, 3):
        found, expected = f"{pixels.dtype} {list(pixels.shape)}", [count, side, side, 3]
        raise InputError(f"{where} holds images {found}: {count} labels and this model take uint8 {expected}")


def require_labels(labels: np.ndarray, model: ModelFacts, where: object) -> Numbers:
    """Integers [M], for any type of these."""
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} {list(labels.shape)}"
        raise InputError(f"{where} has labels {found}: expected an integer for each of M images, [M]")
    if not 0 <= int(labels.min()) <= int(labels.max()) < model.classes:
        found = f"{labels.min()} to {labels.max()}"
        raise InputError(f"{where} has labels {found}, the model knows 0 to {model.classes - 1}")
    return labels.astype(np.int64)
