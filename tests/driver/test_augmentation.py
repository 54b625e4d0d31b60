"""The random views of a batch: what each change does, by numbers worked out by hand."""

import numpy as np
import pytest

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
