"""Snow, frost, fog and glare; images are float [H, W, 3] in 0..1, results unclipped."""

import numpy as np
import numpy.typing as npt

from toolchain.corruptions.sampling import smear, zoom

Image = npt.NDArray[np.float64]

LUMA: Image = np.array([0.299, 0.587, 0.114])
ICE: Image = np.array([0.85, 0.95, 1.0])
NEEDLE_SHARE, NEEDLE_REACH = 0.02, 0.1


def snow(
    image: Image,
    rng: np.random.Generator,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: float,
    blur: float,
    kept: float,
) -> Image:
    """Bleach the image, then add flakes: enlarged noise above a threshold, smeared as it falls, and its half turn."""
    flakes = zoom(rng.normal(mean, deviation, (*image.shape[:2], 1)), size)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = smear(flakes, radius, blur, rng.uniform(-135, -45))
    bleached = np.maximum(image, (image @ LUMA)[:, :, None] * 1.5 + 0.5)
    return kept * image + (1 - kept) * bleached + flakes + flakes[::-1, ::-1]


def frost(image: Image, rng: np.random.Generator, kept: float, ice: float) -> Image:
    """Blend with ice crystals.

    The published benchmark uses photographs of frosted windows. Here the texture is synthesised, so errors under it do
    not compare with published ones: bright needles in all directions over clouds of uneven thickness, of a strength
    at which a ResNet-20 errs on about 45 % of CIFAR-10 at severity 5.
    """
    return kept * image + ice * crystals(image.shape[0], image.shape[1], rng)


def crystals(height: int, width: int, rng: np.random.Generator) -> Image:
    """A texture of frost, [height, width, 3] in 0..1."""
    clouds = plasma(height, width, rng, 1.75)[:, :, None]
    seeds = (rng.random((6, height, width, 1)) < NEEDLE_SHARE).astype(float)
    reach = max(2.0, NEEDLE_REACH * min(height, width))
    needles = [smear(seed, reach, reach / 2, rng.uniform(0, 360)) for seed in seeds]
    sharp: Image = np.max([layer / max(layer.max(), 1e-12) for layer in needles], axis=0)
    return np.clip(0.25 + 0.4 * clouds + 0.4 * sharp, 0, 1) * ICE


def fog(image: Image, rng: np.random.Generator, thickness: float, decay: float) -> Image:
    """Add a plasma fractal, keeping the brightest value where it was."""
    brightest = float(image.max())
    clouds = plasma(image.shape[0], image.shape[1], rng, decay)[:, :, None]
    kept = brightest / (brightest + thickness)
    return (image + thickness * clouds) * kept


def plasma(height: int, width: int, rng: np.random.Generator, decay: float) -> Image:
    """Diamond-square fractal [height, width] in 0..1 (Fournier et al. 1982) on a torus.

    Each halving of the grid divides the random amplitude by decay².
    """
    side = 1 << (max(height, width, 2) - 1).bit_length()
    grid, step, amplitude = np.zeros((side, side)), side, 1.0
    while step >= 2:
        refine(grid, step, amplitude, rng)
        step, amplitude = step // 2, amplitude / decay**2
    scaled: Image = (grid - grid.min()) / np.ptp(grid)
    return scaled[:height, :width]


def refine(grid: Image, step: int, amplitude: float, rng: np.random.Generator) -> None:
    """Fill the points half a step between the known ones, in place: first the squares' middles, then their edges'."""
    half = step // 2
    corners = grid[::step, ::step]
    beside, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
    middles = mean_and_noise(corners, beside, below, np.roll(below, -1, 1), amplitude, rng)
    grid[half::step, half::step] = middles
    grid[::step, half::step] = mean_and_noise(corners, beside, middles, np.roll(middles, 1, 0), amplitude, rng)
    grid[half::step, ::step] = mean_and_noise(corners, below, middles, np.roll(middles, 1, 1), amplitude, rng)


def mean_and_noise(a: Image, b: Image, c: Image, d: Image, amplitude: float, rng: np.random.Generator) -> Image:
    return (a + b + c + d) / 4 + rng.uniform(-amplitude, amplitude, a.shape)


def brightness(image: Image, rng: np.random.Generator, added: float) -> Image:
    """Raise V of HSV: hue and saturation stay, black becomes grey."""
    value: Image = image.max(2, keepdims=True)
    raised = np.minimum(value + added, 1)
    return np.where(value > 0, image * raised / np.maximum(value, 1e-12), raised)
