"""Resampling that several corruptions share; images are float [H, W, C]."""

from functools import cache

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]


@cache
def zoom_matrix(size: int, factor: float) -> Image:
    """[size, size]: magnifies the middle of a line by `factor`, by linear interpolation between its pixels."""
    kept = int(np.ceil(size / factor))
    enlarged = max(round(kept * factor), size)
    trimmed = np.arange(size) + (enlarged - size) // 2
    position = (size - kept) // 2 + trimmed * (kept - 1) / max(enlarged - 1, 1)
    weights: Image = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size)))
    return weights


def zoom(image: Image, factor: float) -> Image:
    """Magnify the middle of the image; the size stays."""
    height, width, _ = image.shape
    rows, columns = zoom_matrix(height, factor), zoom_matrix(width, factor)
    enlarged: Image = rows @ np.moveaxis(image, 2, 0) @ columns.T
    return np.moveaxis(enlarged, 0, 2)


def smear(image: Image, radius: float, deviation: float, angle: float) -> Image:
    """Average along a ray of 2 * radius + 1 pixels at `angle` degrees, weighted by a half Gaussian; edges repeat."""
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    direction = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    reach, (height, width, _) = steps[-1], image.shape
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "edge")
    total = np.zeros_like(image)
    for weight, (row, column) in zip(weights, reach + np.rint(np.outer(steps, direction)).astype(int), strict=True):
        total += weight / weights.sum() * padded[row : row + height, column : column + width]
    return total


def interpolate(image: Image, rows: Image, columns: Image) -> Image:
    """Bilinear values at the positions rows [H, W] and columns [H, W], in pixels; mirrored beyond the edges."""
    from scipy.ndimage import map_coordinates

    channels = np.moveaxis(image, 2, 0)
    return np.stack([map_coordinates(channel, (rows, columns), order=1, mode="mirror") for channel in channels], axis=2)
