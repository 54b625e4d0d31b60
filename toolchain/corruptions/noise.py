"""Noise of low light, photon counting and broken pixels; images are float [H, W, 3] in 0..1, results unclipped."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]


def gaussian_noise(image: Image, rng: np.random.Generator, deviation: float) -> Image:
    return image + rng.normal(scale=deviation, size=image.shape)


def shot_noise(image: Image, rng: np.random.Generator, photons: float) -> Image:
    """Poisson noise when full brightness is `photons` counts."""
    return rng.poisson(image * photons) / photons


def impulse_noise(image: Image, rng: np.random.Generator, share: float) -> Image:
    """Salt and pepper: this share of the values, each colour for itself, becomes 0 or 1."""
    broken = rng.random(image.shape) < share
    return np.where(broken, rng.integers(0, 2, image.shape), image)
