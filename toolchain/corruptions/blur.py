"""Blur of the lens, of frosted glass and of movement; images are float [H, W, 3] in 0..1, results unclipped."""

import numpy as np
import numpy.typing as npt

from toolchain.corruptions.sampling import smear, zoom

Image = npt.NDArray[np.float64]


def defocus_blur(image: Image, rng: np.random.Generator, radius: float, deviation: float) -> Image:
    """Convolve with a disk whose edge is softened by a small Gaussian."""
    from scipy.ndimage import convolve

    result: Image = convolve(image, defocus_kernel(radius, deviation)[:, :, None], mode="mirror")
    return result


def defocus_kernel(radius: float, deviation: float) -> Image:
    """[K, K]: the disk convolved with a Gaussian cut to 3 pixels (5 for a radius above 8); the sum is 1."""
    reach = 2 if radius > 8 else 1
    line = np.arange(-int(radius) - reach, int(radius) + reach + 1)
    square = line**2 + line[:, None] ** 2
    disk = (square <= radius**2) / np.count_nonzero(square <= radius**2)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    softened = np.apply_along_axis(np.convolve, 0, disk, taps / taps.sum(), "same")
    return np.apply_along_axis(np.convolve, 1, softened, taps / taps.sum(), "same")


def glass_blur(image: Image, rng: np.random.Generator, deviation: float, distance: float, rounds: float) -> Image:
    """Blur, replace each pixel by one nearby, blur again."""
    from scipy.ndimage import gaussian_filter

    spread = (deviation, deviation, 0)
    blurred = gaussian_filter(image, spread, mode="nearest")
    height, width, _ = image.shape
    sources = scatter(height, width, rng, int(distance), int(rounds))
    result: Image = gaussian_filter(blurred.reshape(-1, 3)[sources].reshape(image.shape), spread, mode="nearest")
    return result


def scatter(height: int, width: int, rng: np.random.Generator, distance: int, rounds: int) -> npt.NDArray[np.int64]:
    """For each pixel the number of the one that it shows, [height * width].

    From the last to the first, each takes what is shown by one at most `distance` before it and fewer after it, per
    axis; the margin stays. The published data was made so: an exchange of the two would carry pixels much further.
    """
    pixels = np.arange(height * width).reshape(height, width)
    inner = pixels[distance + 1 : height - distance + 1, distance + 1 : width - distance + 1].ravel()[::-1]
    sources = list(range(height * width))
    for _ in range(rounds):
        vertical, horizontal = rng.integers(-distance, distance, (2, inner.size))
        for here, there in zip(inner.tolist(), (inner + vertical * width + horizontal).tolist(), strict=True):
            sources[here] = sources[there]
    return np.array(sources)


def motion_blur(image: Image, rng: np.random.Generator, radius: float, deviation: float) -> Image:
    """Smear in a direction within 45 degrees of the horizontal."""
    return smear(image, radius, deviation, rng.uniform(-45, 45))


def zoom_blur(image: Image, rng: np.random.Generator, end: float, step: float) -> Image:
    """Average the image with its magnifications."""
    mean: Image = np.mean([image, *(zoom(image, factor) for factor in magnifications(end, step))], axis=0)
    return mean


def magnifications(end: float, step: float) -> npt.NDArray[np.float64]:
    """From 1 in steps towards `end`. As for the published data, rounding decides whether `end` is one of them."""
    return np.arange(1, end, step)
