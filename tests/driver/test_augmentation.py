"""The random views of a batch: what each change does, by numbers worked out by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from toolchain.driver.manifest import Preprocessing
from toolchain.driver.methods.augmentation import Augmentation, _blur, _sample, _turn_hue

PREPROCESSING = Preprocessing(None, "bilinear", 16, 255.0, (120.0, 110.0, 100.0), (50.0, 60.0, 70.0))
PIXELS = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)


def normalised(pixels: np.ndarray) -> np.ndarray:
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    return np.asarray((255 * pixels - mean) / std)


def test_a_view_is_as_the_model_takes_it() -> None:
    images = normalised(PIXELS)
    view = Augmentation(PREPROCESSING, np.random.default_rng(1))(images)
    assert view.shape == images.shape and view.dtype == np.float32 and view.flags.c_contiguous
    lowest, highest = (normalised(np.full((1, 3, 1, 1), value, np.float32)) for value in (0, 1))
    assert (view >= lowest - 1e-4).all() and (view <= highest + 1e-4).all()
    assert np.abs(view - images).mean() > 0.1


def test_views_follow_their_generator() -> None:
    first, same, other = (Augmentation(PREPROCESSING, np.random.default_rng(seed)) for seed in (1, 1, 2))
    images = normalised(PIXELS)
    view = first(images)
    assert np.array_equal(view, same(images))
    assert not np.array_equal(view, other(images))
    assert not np.array_equal(view, first(images))


def test_sampling_between_pixels_is_bilinear_and_repeats_the_edge() -> None:
    rows, columns = np.mgrid[0:16, 0:16].astype(np.float64)
    assert np.array_equal(_sample(PIXELS, rows, columns), PIXELS)
    between = _sample(PIXELS, rows + 0.25, columns)[:, :, 3, 5]
    assert np.allclose(between, 0.75 * PIXELS[:, :, 3, 5] + 0.25 * PIXELS[:, :, 4, 5])
    assert np.array_equal(_sample(PIXELS, rows - 40, columns)[:, :, 9], PIXELS[:, :, 0])


@pytest.mark.parametrize(
    ("turn", "expected"), [(0.0, [0.8, 0.2, 0.4]), (1 / 3, [0.4, 0.8, 0.2]), (1.0, [0.8, 0.2, 0.4])]
)
def test_hue_turns_the_colours(turn: float, expected: list[float]) -> None:
    pixel = np.array([0.8, 0.2, 0.4], np.float32).reshape(1, 3, 1, 1)
    assert np.allclose(_turn_hue(pixel, turn).reshape(-1), expected, atol=1e-6)


def test_blur_keeps_the_mean_and_cuts_the_margin() -> None:
    flat = np.full((1, 3, 12, 12), 0.3, np.float32)
    assert np.allclose(_blur(flat, 0.5), flat[:, :, 2:-2, 2:-2])
    dot = np.zeros((1, 1, 9, 9), np.float32)
    dot[..., 4, 4] = 1
    blurred = _blur(dot, 0.5)
    assert np.isclose(blurred.sum(), 1) and 0.5 < blurred[0, 0, 2, 2] < 0.7


class Given:
    """A generator whose numbers are chosen: `shares` of each range in turn, an order, a coin, and the noise."""

    def __init__(self, shares: Sequence[float], coin: float = 1.0, noise: float = 0.0) -> None:
        self.asked: list[tuple[float, float]] = []
        self._shares, self._coin, self._noise = list(shares), coin, noise

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return low + (high - low) * self._shares[len(self.asked) - 1]

    def permutation(self, count: int) -> np.ndarray:
        return np.array(ORDER[:count])

    def random(self) -> float:
        return self._coin

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.full(shape, self._noise, dtype)


ORDER = [2, 0, 4, 1, 3]
PLAIN = Preprocessing(None, "bilinear", 16, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SHARES = [0.3, 0.8, 0.1, 0.9, 0.4, 0.2, 0.7, 0.6, 0.35, 0.9]


def view(given: Given) -> np.ndarray:
    return Augmentation(PLAIN, given)(PIXELS)  # type: ignore[arg-type]


def expected_of_torchvision(drawn: Sequence[float]) -> np.ndarray:
    """What CoTTA's authors compose, from the same numbers."""
    brightness, contrast, saturation, hue, gamma, angle, zoom, down, right, deviation = drawn
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda x: functional.adjust_brightness(x, brightness),
        lambda x: functional.adjust_contrast(x, contrast),
        lambda x: functional.adjust_saturation(x, saturation),
        lambda x: functional.adjust_hue(x, hue),
        lambda x: functional.adjust_gamma(x.clamp(1e-8, 1), gamma),
    ]
    pixels = torch.from_numpy(PIXELS)
    for index in ORDER:
        pixels = changes[index](pixels)
    padded = functional.pad(pixels, [8], padding_mode="edge")
    shift = [round(right * 32), round(down * 32)]
    bilinear = functional.InterpolationMode.BILINEAR
    moved = functional.affine(padded, angle, shift, zoom, [0.0, 0.0], interpolation=bilinear)
    blurred = functional.gaussian_blur(moved, [5, 5], [deviation, deviation])
    return np.asarray(functional.center_crop(blurred, [16]).clamp(0, 1))


def test_a_view_is_that_of_torchvision_from_the_same_numbers() -> None:
    given = Given(SHARES)
    found = view(given)
    shift = (-1 / 16, 1 / 16)
    moves = [(-15, 15), (0.9, 1.1), shift, shift, (0.001, 0.5)]
    assert given.asked == [(0.6, 1.4), (0.7, 1.3), (0.5, 1.5), (-0.06, 0.06), (0.7, 1.3), *moves]
    drawn = [low + (high - low) * share for (low, high), share in zip(given.asked, SHARES, strict=True)]
    np.testing.assert_allclose(found, expected_of_torchvision(drawn), atol=1e-4)
    for index in range(len(SHARES)):
        other = [
            *drawn[:index],
            drawn[index] + 0.3 * (given.asked[index][1] - drawn[index]) + 0.02,
            *drawn[index + 1 :],
        ]
        assert np.abs(found - expected_of_torchvision(other)).max() > 1e-3, f"number {index} does not matter"


def test_a_coin_mirrors_and_noise_is_added() -> None:
    plain = view(Given(SHARES))
    np.testing.assert_array_equal(view(Given(SHARES, coin=0.4)), plain[..., ::-1])
    np.testing.assert_array_equal(view(Given(SHARES, coin=0.5)), plain)
    np.testing.assert_allclose(view(Given(SHARES, noise=1.0)), np.clip(plain + 0.005, 0, 1), atol=1e-6)
