"""The corruptions on real CIFAR-10 images: reproducible, graded, and each true to its definition."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from toolchain.corruptions import CORRUPTIONS, corrupt
from toolchain.corruptions.blur import defocus_kernel, magnifications
from toolchain.corruptions.sampling import smear, zoom
from toolchain.corruptions.severities import CIFAR, IMAGENET
from toolchain.errors import UsageError

pytest.importorskip("scipy")
pytest.importorskip("PIL")

Bytes = npt.NDArray[np.uint8]

SAMPLE = Path(__file__).parent / "data" / "cifar10_sample.npz"
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog",
          "elastic_transform")  # fmt: skip


@pytest.fixture(scope="module")
def images() -> Bytes:
    with np.load(SAMPLE) as file:
        taken: Bytes = file["images"][:24]
    return taken


def distance(a: Bytes, b: Bytes) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_fifteen_corruptions_have_five_severities_at_both_sizes() -> None:
    assert len(CORRUPTIONS) == 15
    for table in (CIFAR, IMAGENET):
        assert tuple(table) == CORRUPTIONS
        assert all(len(constants) == 5 for constants in table.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_seed_repeats_and_a_prefix_gives_a_prefix(images: Bytes, name: str) -> None:
    result = corrupt(images, name, 3, seed=1)
    assert result.shape == images.shape and result.dtype == np.uint8
    np.testing.assert_array_equal(result[:5], corrupt(images[:5], name, 3, seed=1))
    assert distance(result, images) > 0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_another_seed_differs_exactly_where_chance_plays(images: Bytes, name: str) -> None:
    differs = distance(corrupt(images, name, 3, seed=1), corrupt(images, name, 3, seed=2)) > 0
    assert differs == (name in RANDOM)


# The published constants of these three trade one kind of damage for another as severity grows.
NOT_GRADED_BY_DISTANCE = {"elastic_transform", "glass_blur", "frost"}


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - NOT_GRADED_BY_DISTANCE))
def test_damage_grows_with_severity(images: Bytes, name: str) -> None:
    damage = [distance(corrupt(images, name, severity), images) for severity in range(1, 6)]
    assert damage == sorted(damage) and damage[4] > 1.3 * damage[0]


def test_gaussian_noise_has_the_published_deviation() -> None:
    grey = np.full((8, 32, 32, 3), 128, np.uint8)
    deviation = corrupt(grey, "gaussian_noise", 5).astype(float).std() / 255
    assert deviation == pytest.approx(0.10, rel=0.02)


def test_contrast_keeps_the_mean_and_scales_the_deviation(images: Bytes) -> None:
    before, after = images.astype(float), corrupt(images, "contrast", 5).astype(float)
    np.testing.assert_allclose(after.mean((1, 2)), before.mean((1, 2)), atol=0.2)
    np.testing.assert_allclose(after.std((1, 2)), 0.15 * before.std((1, 2)), atol=0.2)


def test_defocus_spreads_a_point_over_a_disk() -> None:
    np.testing.assert_allclose(defocus_kernel(1.5, 0.1)[1:-1, 1:-1], np.full((3, 3), 1 / 9), atol=1e-12)
    assert defocus_kernel(10, 0.5).sum() == pytest.approx(1)
    assert np.count_nonzero(defocus_kernel(1, 0.1) > 1e-6) == 5


def test_blurs_keep_a_constant_image() -> None:
    grey = np.full((1, 32, 32, 3), 100, np.uint8)
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate"):
        np.testing.assert_array_equal(corrupt(grey, name, 5), grey)


def test_smear_is_one_sided() -> None:
    point = np.zeros((9, 9, 1))
    point[4, 4] = 1
    spread = smear(point, 2, 1.0, 0.0)[:, :, 0]
    assert (spread[4, :5] > 0).all() and spread[4, 5:].sum() == 0 and spread.sum() == pytest.approx(1)


def test_zoom_by_one_changes_nothing_and_by_two_magnifies() -> None:
    ramp = np.arange(8.0)[None, :, None] * np.ones((8, 1, 1))
    np.testing.assert_array_equal(zoom(ramp, 1.0), ramp)
    np.testing.assert_allclose(np.diff(zoom(ramp, 2.0)[0, :, 0]), 3 / 7)


def test_larger_images_get_the_constants_of_imagenet(images: Bytes) -> None:
    large = images[:1].repeat(7, 1).repeat(7, 2)
    noise = corrupt(large, "gaussian_noise", 1).astype(float) - large
    inside = (large > 80) & (large < 175)
    assert noise[inside].std() / 255 == pytest.approx(0.08, rel=0.03)
    for name in CORRUPTIONS:
        assert corrupt(large, name, 1).shape == large.shape


@pytest.mark.parametrize(
    ("name", "severity", "seed", "words"),
    [
        ("rain", 1, 0, "rain.*gaussian_noise"),
        ("fog", 6, 0, "severity 6"),
        ("fog", 0, 0, "1 to 5"),
        ("fog", 1, -1, "-1"),
    ],
)
def test_impossible_requests_are_refused(images: Bytes, name: str, severity: int, seed: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        corrupt(images, name, severity, seed)


def test_float_images_are_refused(images: Bytes) -> None:
    with pytest.raises(UsageError, match="float32"):
        corrupt(images.astype(np.float32), "fog", 1)


@pytest.mark.parametrize(
    ("table", "last"), [(CIFAR, [1.06, 1.11, 1.15, 1.20, 1.25]), (IMAGENET, [1.11, 1.15, 1.20, 1.24, 1.30])]
)
def test_zoom_ends_where_the_published_data_does(
    table: dict[str, tuple[tuple[float, ...], ...]], last: list[float]
) -> None:
    assert [float(magnifications(*constants)[-1]) for constants in table["zoom_blur"]] == pytest.approx(last)
