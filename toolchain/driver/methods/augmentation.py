"""The random views of a batch that CoTTA's teacher averages and SURGEON's consistency compares.

Source: Wang et al., CVPR 2022, "Continual Test-Time Domain Adaptation", appendix; the numbers are the authors' code's.
One draw serves the whole batch, except for the noise.
"""

from typing import Callable, List

import numpy as np

from toolchain.driver.manifest import Preprocessing

ANGLE, SHIFT, SCALE = 15.0, 1 / 16, (0.9, 1.1)
"""Degrees; of the side of an image padded by half of its own on all sides; a factor."""

BLUR, BLUR_REACH, NOISE = (0.001, 0.5), 2, 0.005
GRAY = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)


class Augmentation:
    """T(x): colours, a turn, a shift and a zoom, blur, a mirror, noise."""

    def __init__(self, preprocessing: Preprocessing, random: np.random.Generator) -> None:
        column = (1, -1, 1, 1)
        self._scale = np.array(preprocessing.std, np.float32).reshape(column) / np.float32(preprocessing.range)
        self._shift = np.array(preprocessing.mean, np.float32).reshape(column) / np.float32(preprocessing.range)
        self._random = random

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed images float32 [N, 3, H, W] to such images."""
        pixels = np.clip(images * self._scale + self._shift, 0.0, 1.0)
        pixels = self._colour(pixels)
        pixels = self._move(pixels, margin=BLUR_REACH)
        pixels = _blur(pixels, self._random.uniform(*BLUR))
        if self._random.random() < 0.5:
            pixels = pixels[..., ::-1]
        pixels = pixels + np.float32(NOISE) * self._random.standard_normal(pixels.shape, np.float32)
        return np.ascontiguousarray((np.clip(pixels, 0.0, 1.0) - self._shift) / self._scale, np.float32)

    def _colour(self, pixels: np.ndarray) -> np.ndarray:
        """Brightness, contrast, saturation, hue and gamma in random order, each kept in [0, 1]."""
        draw = self._random.uniform
        brightness, contrast, saturation = draw(0.6, 1.4), draw(0.7, 1.3), draw(0.5, 1.5)
        hue, gamma = draw(-0.06, 0.06), draw(0.7, 1.3)
        changes: List[Callable[[np.ndarray], np.ndarray]] = [
            lambda x: x * np.float32(brightness),
            lambda x: _blend(x, (x * GRAY).sum(axis=1, keepdims=True).mean(axis=(2, 3), keepdims=True), contrast),
            lambda x: _blend(x, (x * GRAY).sum(axis=1, keepdims=True), saturation),
            lambda x: _turn_hue(x, hue),
            lambda x: np.power(x, np.float32(gamma)),
        ]
        for index in self._random.permutation(len(changes)):
            pixels = np.clip(changes[index](pixels), 0.0, 1.0)
        return np.asarray(pixels)

    def _move(self, pixels: np.ndarray, margin: int) -> np.ndarray:
        """Turned, zoomed and shifted about the centre, with edges repeated beyond the image, and a margin around."""
        height, width = pixels.shape[2:]
        angle = np.deg2rad(self._random.uniform(-ANGLE, ANGLE))
        zoom = self._random.uniform(*SCALE)
        shift = [np.round(self._random.uniform(-SHIFT, SHIFT) * 2 * side) for side in (height, width)]
        rows, columns = np.mgrid[-margin : height + margin, -margin : width + margin].astype(np.float64)
        down, right = rows - (height - 1) / 2 - shift[0], columns - (width - 1) / 2 - shift[1]
        cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
        source_rows = cosine * down - sine * right + (height - 1) / 2
        source_columns = sine * down + cosine * right + (width - 1) / 2
        return _sample(pixels, source_rows, source_columns)


def _blend(pixels: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return np.asarray(other + np.float32(share) * (pixels - other))


def _sample(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear samples [N, 3, *rows.shape] at fractional places; beyond the image lies its edge."""
    height, width = pixels.shape[2:]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, right = (rows - top).astype(np.float32), (columns - left).astype(np.float32)
    upper = pixels[:, :, top, left] * (1 - right) + pixels[:, :, top, beside] * right
    lower = pixels[:, :, below, left] * (1 - right) + pixels[:, :, below, beside] * right
    return np.asarray(upper * (1 - down) + lower * down)


def _blur(pixels: np.ndarray, deviation: float) -> np.ndarray:
    """A Gaussian of five pixels each way, whose margin is cut off."""
    reach = np.arange(-BLUR_REACH, BLUR_REACH + 1)
    weights = np.exp(-0.5 * (reach / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    height, width = (side - 2 * BLUR_REACH for side in pixels.shape[2:])
    rows = sum(weight * pixels[:, :, start : start + height] for start, weight in enumerate(weights))
    return np.asarray(sum(weight * rows[..., start : start + width] for start, weight in enumerate(weights)))


def _turn_hue(pixels: np.ndarray, turn: float) -> np.ndarray:
    """The hue moved by `turn` of a whole circle; saturation and value stay."""
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    value, least = pixels.max(axis=1), pixels.min(axis=1)
    chroma = value - least
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = (hue + np.float32(6 * turn)) % 6
    channels = []
    for offset in (5, 3, 1):
        place = (offset + sixth) % 6
        channels.append(value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1))
    return np.stack(channels, axis=1).astype(np.float32)
