"""Contrast, elastic warp, pixelation, JPEG; images are float [H, W, 3] in 0..1, results unclipped."""

import io

import numpy as np
import numpy.typing as npt

from toolchain.corruptions.sampling import interpolate

Image = npt.NDArray[np.float64]


def contrast(image: Image, rng: np.random.Generator, kept: float) -> Image:
    """Shrink the distance of every pixel to its channel's mean."""
    mean: Image = image.mean((0, 1))
    return (image - mean) * kept + mean


def elastic_transform(image: Image, rng: np.random.Generator, strength: float, smooth: float, shift: float) -> Image:
    """A random affine map that moves three anchors by up to `shift` pixels, then a smooth random displacement."""
    from scipy.ndimage import gaussian_filter

    rows, columns = np.indices(image.shape[:2]).astype(float)
    tilted = interpolate(image, *affine_positions(rows, columns, rng, shift))
    noise = rng.uniform(-1, 1, (2, *image.shape[:2]))
    moved = [strength * gaussian_filter(part, smooth, mode="reflect", truncate=3) for part in noise]
    return interpolate(tilted, rows + moved[0], columns + moved[1])


def affine_positions(rows: Image, columns: Image, rng: np.random.Generator, shift: float) -> Image:
    """[2, H, W]: where each pixel comes from when three anchors around the middle move by up to `shift` pixels."""
    height, width = rows.shape
    side = min(height, width) // 3
    corners = np.array([[side, side], [-side, side], [-side, -side]])
    anchors = np.array([height // 2, width // 2]) + corners
    moved = anchors + rng.uniform(-shift, shift, (3, 2))
    back = np.linalg.solve(np.c_[moved, np.ones(3)], anchors)
    return np.moveaxis(np.stack([rows, columns, np.ones_like(rows)], axis=2) @ back, 2, 0)


def pixelate(image: Image, rng: np.random.Generator, scale: float) -> Image:
    """Shrink with a box filter and enlarge again."""
    from PIL.Image import Resampling, fromarray

    height, width, _ = image.shape
    small = fromarray(to_bytes(image)).resize((int(width * scale), int(height * scale)), Resampling.BOX)
    return np.asarray(small.resize((width, height), Resampling.BOX)) / 255


def jpeg_compression(image: Image, rng: np.random.Generator, quality: float) -> Image:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(to_bytes(image)).save(buffer, "JPEG", quality=int(quality))
    with PIL.Image.open(buffer) as compressed:
        return np.asarray(compressed) / 255


def to_bytes(image: Image) -> npt.NDArray[np.uint8]:
    return np.rint(image * 255).astype(np.uint8)
