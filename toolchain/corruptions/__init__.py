"""The 15 corruptions of Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", written from the paper's description.

Images of at most 64 pixels a side get the severities of CIFAR-10-C, larger ones those of ImageNet-C. Needs the optional
packages scipy and Pillow for some of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from toolchain.corruptions import blur, digital, noise, weather
from toolchain.corruptions.severities import CIFAR, IMAGENET
from toolchain.errors import ToolchainError, UsageError

FUNCTIONS: dict[str, Callable[..., npt.NDArray[np.float64]]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
CORRUPTIONS: tuple[str, ...] = tuple(FUNCTIONS)
LARGEST_CIFAR_SIDE = 64


def corrupt(
    images: npt.NDArray[np.uint8], name: str, severity: int, seed: int = 0, numbers: Sequence[int] | None = None
) -> npt.NDArray[np.uint8]:
    """Corrupt uint8 [M, H, W, 3] into a new array of the same shape.

    Image number i depends on (seed, i) and its own pixels only, so that a part of the images gives that part of the
    result. numbers: of the images, 0 to M - 1 if None. Raises UsageError for an unknown name or severity, a negative
    seed, or images of another shape or type, and ToolchainError when scipy or Pillow is needed and not installed.
    """
    check_request(images, name, severity, seed)
    function, constants = FUNCTIONS[name], table(images)[name][severity - 1]
    result = np.empty_like(images)
    try:
        for index, (number, image) in enumerate(zip(numbers or range(len(images)), images, strict=True)):
            corrupted = function(image / 255, np.random.default_rng((seed, number)), *constants)
            result[index] = np.rint(corrupted.clip(0, 1) * 255)
    except ImportError as error:
        raise ToolchainError(f"corruption {name} needs {error.name}: install the packages scipy and Pillow") from error
    return result


def table(images: npt.NDArray[np.uint8]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """The constants that belong to this image size: one tuple for each severity."""
    return CIFAR if max(images.shape[1:3]) <= LARGEST_CIFAR_SIDE else IMAGENET


def check_request(images: npt.NDArray[np.uint8], name: str, severity: int, seed: int) -> None:
    if name not in FUNCTIONS:
        raise UsageError(f"unknown corruption {name!r}: choose one of {', '.join(CORRUPTIONS)}")
    if severity not in range(1, 6):
        raise UsageError(f"corruption {name} has no severity {severity!r}: choose 1 to 5")
    if seed < 0:
        raise UsageError(f"corruption {name} was given the seed {seed}: choose 0 or more")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"corruption {name} takes uint8 [M, H, W, 3], not {images.dtype} {list(images.shape)}")
