"""BatchNorm's kernels, on every instruction set that this machine has, against numpy in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run
from tests.kernels.sparse import encode, largest

every_isa = pytest.mark.parametrize("isa", instruction_sets())

PLANES = [(), (1,), (7, 7), (3, 5), (64,), (33, 40), (70, 71)]
SHAPES = st.builds(
    lambda images, channels, plane: (images, channels, *plane),
    st.integers(1, 5),
    st.integers(1, 40),
    st.sampled_from(PLANES),
)
SEEDS = st.integers(0, 2**32 - 1)
LARGE = (3, 130, 20, 21)
"""Enough for every kernel to cut it in several shares, at odd places."""


def _channelwise(vector: np.ndarray, rank: int) -> np.ndarray:
    return vector.reshape(1, -1, *[1] * (rank - 2))


def _activation(shape: tuple[int, ...], seed: int, offset: float = 1.0) -> np.ndarray:
    """Channels of various means and deviations."""
    rng = np.random.default_rng(seed)
    deviation = 10 ** rng.uniform(-3, 3, shape[1])
    mean = deviation * rng.uniform(-offset, offset, shape[1])
    x: np.ndarray = rng.standard_normal(shape) * _channelwise(deviation, len(shape)) + _channelwise(mean, len(shape))
    return x.astype(np.float32)


def _pixels(x: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _positive_bits(y: np.ndarray) -> np.ndarray:
    return np.packbits(y > 0, bitorder="little")


def _moments(x: np.ndarray, isa: str, threads: int = 1) -> list[np.ndarray]:
    return run("ChannelMoments", [x], outputs=[np.float32, np.float32], isa=isa, threads=threads)


@every_isa
@given(shape=SHAPES, seed=SEEDS, offset=st.sampled_from([0.0, 1.0, 100.0, 1000.0]))
def test_moments_are_those_of_each_channel(isa: str, shape: tuple[int, ...], seed: int, offset: float) -> None:
    x = _activation(shape, seed, offset)
    mean, variance = _moments(x, isa)
    exact = x.astype(np.float64)
    deviation = exact.std(_pixels(x))
    wanted = exact.mean(_pixels(x))
    assert mean.shape == variance.shape == (shape[1],)
    assert (np.abs(mean - wanted) <= 3e-7 * (np.abs(wanted) + deviation)).all()
    np.testing.assert_allclose(variance, deviation**2, rtol=2e-6, atol=1e-12 * np.square(x).max())


@every_isa
def test_variance_is_small_where_all_is_equal(isa: str) -> None:
    x = np.full((4, 3, 50, 50), 1234.567, np.float32)
    mean, variance = _moments(x, isa)
    np.testing.assert_allclose(mean, x[0, :, 0, 0], rtol=1e-7)
    assert (variance >= 0).all() and (variance < 1e-6).all()


@every_isa
def test_moments_of_what_is_not_finite(isa: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 9)).astype(np.float32)
    x[1, 0, 3, 4], x[0, 1, 0, 0], x[1, 2, 8, 8] = np.nan, np.inf, -np.inf
    mean, variance = _moments(x, isa)
    np.testing.assert_array_equal(mean[:3], [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(np.isnan(variance), [True, True, True, False])
    assert np.isfinite(mean[3])


@every_isa
def test_moments_of_nothing(isa: str) -> None:
    mean, variance = _moments(np.zeros((0, 3, 4, 4), np.float32), isa)
    assert np.isnan(mean).all() and np.isnan(variance).all()
    assert _moments(np.zeros((2, 0, 4, 4), np.float32), isa)[0].shape == (0,)


def _parameters(channels: int, seed: int) -> list[np.ndarray]:
    """Scale, bias, mean and inverse."""
    rng = np.random.default_rng([seed, 1])
    vectors = [rng.uniform(-2, 2, channels), rng.standard_normal(channels), rng.standard_normal(channels)]
    return [vector.astype(np.float32) for vector in [*vectors, 10 ** rng.uniform(-3, 3, channels)]]


def _normalize(x: np.ndarray, parameters: list[np.ndarray], isa: str, **how: bool | int) -> np.ndarray:
    (y,) = run("BatchNormalize", [x, *parameters], isa=isa, **how)  # type: ignore[arg-type]
    return y


@every_isa
@given(shape=SHAPES, seed=SEEDS, in_place=st.booleans())
def test_each_channel_is_normalized(isa: str, shape: tuple[int, ...], seed: int, in_place: bool) -> None:
    x, parameters = _activation(shape, seed), _parameters(shape[1], seed)
    y = _normalize(x, parameters, isa, in_place=in_place)
    scale, bias, mean, inverse = (_channelwise(vector.astype(np.float64), x.ndim) for vector in parameters)
    mapped = (x - mean) * (scale * inverse)
    assert y.shape == x.shape
    assert (np.abs(y - (mapped + bias)) <= 1e-6 * (np.abs(mapped) + np.abs(bias))).all()


@every_isa
@given(shape=SHAPES, seed=SEEDS, in_place=st.booleans())
def test_relu_behind_batchnorm(isa: str, shape: tuple[int, ...], seed: int, in_place: bool) -> None:
    x, parameters = _activation(shape, seed), _parameters(shape[1], seed)
    inputs = [x, *parameters]
    y, bits = run("BatchNormalizeRelu", inputs, outputs=[np.float32, np.uint8], isa=isa, in_place=in_place)
    np.testing.assert_array_equal(y, np.maximum(_normalize(x, parameters, isa), 0))
    np.testing.assert_array_equal(bits, _positive_bits(y))


@every_isa
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 15, 16, 17, 2047, 2049, 70001])
def test_relu_keeps_bits(isa: str, in_place: bool, count: int) -> None:
    x = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    x[::5] = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45], np.float32), x[::5].shape)
    y, bits = run("ReluPack", [x], outputs=[np.float32, np.uint8], isa=isa, in_place=in_place)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(bits, _positive_bits(x))


@every_isa
def test_what_is_not_finite_passes_through_batchnorm(isa: str) -> None:
    x = np.array([[[np.nan, np.inf, -np.inf, 1.0]]], np.float32)
    one = np.ones(1, np.float32)
    y, bits = run("BatchNormalizeRelu", [x, one, 0 * one, 0 * one, one], outputs=[np.float32, np.uint8], isa=isa)
    np.testing.assert_array_equal(y, [[[np.nan, np.inf, 0.0, 1.0]]])
    np.testing.assert_array_equal(bits, [0b1010])


@every_isa
def test_no_number_depends_on_the_threads(isa: str) -> None:
    x, parameters = _activation(LARGE, 5), _parameters(LARGE[1], 5)
    pair, triple = [np.float32, np.uint8], [np.float32] * 3
    _, kept = _kept(x, 0.3)
    gradient = [_gradient(LARGE, 5), *kept, *_vectors(LARGE[1], 5), _positive_bits(x)]
    for op_type, inputs, outputs in (
        ("ChannelMoments", [x], [np.float32, np.float32]),
        ("BatchNormalize", [x, *parameters], [np.float32]),
        ("BatchNormalizeRelu", [x, *parameters], pair),
        ("ReluPack", [x], pair),
        ("BatchNormGradient", gradient, triple),
    ):
        alone, shared = (run(op_type, inputs, outputs=outputs, isa=isa, threads=threads) for threads in (1, 4))
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(one, other)


def _kept(x: np.ndarray, density: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """x with zeros for all but its largest elements, and these with their places."""
    flags = largest(x, int(x.size * density))
    return np.where(flags, x, x.dtype.type(0)), [x[flags], encode(flags)]


def _centered(shape: tuple[int, ...], seed: int, dtype: type) -> np.ndarray:
    centered: np.ndarray = np.random.default_rng([seed, 2]).standard_normal(shape)
    return centered.astype(dtype)


def _gradient(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 3])
    dy: np.ndarray = rng.standard_normal(shape) + _channelwise(rng.standard_normal(shape[1]), len(shape))
    return dy.astype(np.float32)


def _vectors(channels: int, seed: int) -> list[np.ndarray]:
    """Scale and inverse."""
    scale, _, _, inverse = _parameters(channels, seed)
    return [scale, inverse]


def _expected_gradient(
    dy: np.ndarray, centered: np.ndarray, scale: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """In float64, as LowerBatchNormGradient has it."""
    pixels, count = _pixels(dy), dy.size / dy.shape[1]
    exact, s = dy.astype(np.float64), inverse.astype(np.float64)
    dscale = s * (exact * centered).sum(pixels)
    dbias = exact.sum(pixels)
    columns = [_channelwise(vector, dy.ndim) for vector in (scale * s, dbias / count, s * dscale / count)]
    return columns[0] * (exact - columns[1] - centered * columns[2]), dscale, dbias


def _check_gradient(found: list[np.ndarray], dy: np.ndarray, dense: np.ndarray, vectors: list[np.ndarray]) -> None:
    """The errors beside what was added up."""
    wanted = _expected_gradient(dy, dense, *vectors)
    pixels, scale, inverse = _pixels(dy), *(vector.astype(np.float64) for vector in vectors)
    of_product = inverse * np.abs(dy * dense).sum(pixels)
    of_sum = np.abs(dy).sum(pixels, dtype=np.float64)
    count = dy.size / dy.shape[1]
    columns = [
        _channelwise(v, dy.ndim) for v in (np.abs(scale * inverse), of_sum / count, inverse * of_product / count)
    ]
    of_dx = columns[0] * (np.abs(dy) + columns[1] + np.abs(dense) * columns[2])
    for one, other, size in zip(found, wanted, (of_dx, of_product, of_sum), strict=True):
        assert one.shape == other.shape
        assert (np.abs(one - other) <= 1e-6 * size).all()


@every_isa
@given(
    shape=SHAPES,
    seed=SEEDS,
    density=st.sampled_from([0.0, 0.02, 0.1, 0.18, 0.19, 0.5, 1.0]),
    dtype=st.sampled_from([np.float32, np.float16]),
    with_bits=st.booleans(),
    in_place=st.booleans(),
)
def test_gradient_of_batchnorm(
    isa: str, shape: tuple[int, ...], seed: int, density: float, dtype: type, with_bits: bool, in_place: bool
) -> None:
    dense, kept = _kept(_centered(shape, seed, dtype), density)
    dy, vectors = _gradient(shape, seed), _vectors(shape[1], seed)
    passed = np.random.default_rng([seed, 4]).random(shape) < 0.6
    bits = np.packbits(passed, bitorder="little") if with_bits else None
    inputs = [dy, *kept, *vectors, bits]
    found = run("BatchNormGradient", inputs, outputs=[np.float32] * 3, isa=isa, in_place=in_place)
    _check_gradient(found, np.where(passed, dy, np.float32(0)) if with_bits else dy, dense, vectors)


@every_isa
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("density", [0.1, 0.4])
def test_gradient_in_several_shares(isa: str, dtype: type, density: float) -> None:
    dense, kept = _kept(_centered(LARGE, 9, dtype), density)
    dy, vectors = _gradient(LARGE, 9), _vectors(LARGE[1], 9)
    found = run("BatchNormGradient", [dy, *kept, *vectors], outputs=[np.float32] * 3, isa=isa, in_place=True)
    _check_gradient(found, dy, dense, vectors)
    wrong = dense.copy()
    wrong[2, 129] = -wrong[2, 129]
    with pytest.raises(AssertionError):
        _check_gradient(found, dy, wrong, vectors)


@every_isa
def test_what_is_masked_is_never_read_as_a_number(isa: str) -> None:
    dy = np.ones((2, 3, 7, 7), np.float32)
    dy[0, 1, 2, 3] = np.nan
    one = np.ones(3, np.float32)
    passed = ~np.isnan(dy)
    _, kept = _kept(np.zeros_like(dy), 0.2)
    inputs = [dy, *kept, one, one, np.packbits(passed, bitorder="little")]
    dx, dscale, dbias = run("BatchNormGradient", inputs, outputs=[np.float32] * 3, isa=isa)
    np.testing.assert_array_equal(dbias, [98, 97, 98])
    np.testing.assert_array_equal(dscale, 0)
    assert np.isfinite(dx).all()
    unmasked = run("BatchNormGradient", inputs[:5], outputs=[np.float32] * 3, isa=isa)
    np.testing.assert_array_equal(np.isnan(unmasked[2]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(unmasked[0]).any(axis=(0, 2, 3)), [False, True, False])


def test_gradient_of_nothing() -> None:
    empty, one = np.zeros((0, 3, 2, 2), np.float32), np.ones(3, np.float32)
    inputs = [empty, *_kept(empty, 0.5)[1], one, one]
    dx, _, dbias = run("BatchNormGradient", inputs, outputs=[np.float32] * 3)
    assert dx.shape == empty.shape
    np.testing.assert_array_equal(dbias, 0)


@pytest.mark.parametrize(
    ("op_type", "changed"),
    [
        ("ChannelMoments", {0: np.zeros(4, np.float32)}),
        ("BatchNormalize", {0: np.zeros(4, np.float32)}),
        ("BatchNormalize", {2: np.zeros(4, np.float32)}),
        ("BatchNormalizeRelu", {4: np.zeros((3, 1), np.float32)}),
        ("BatchNormGradient", {0: np.zeros(4, np.float32)}),
        ("BatchNormGradient", {1: np.zeros(3, np.float32)}),
        ("BatchNormGradient", {2: np.zeros(1, np.uint8)}),
        ("BatchNormGradient", {2: np.full(3, 255, np.uint8)}),
        ("BatchNormGradient", {3: np.zeros(2, np.float32)}),
        ("BatchNormGradient", {5: np.zeros(2, np.uint8)}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(op_type: str, changed: dict[int, np.ndarray]) -> None:
    x, vector = np.ones((2, 3, 4), np.float32), np.ones(3, np.float32)
    bits = np.full(3, 255, np.uint8)
    right: dict[str, tuple[list[np.ndarray], list[type]]] = {
        "ChannelMoments": ([x], [np.float32, np.float32]),
        "BatchNormalize": ([x, vector, vector, vector, vector], [np.float32]),
        "BatchNormalizeRelu": ([x, vector, vector, vector, vector], [np.float32, np.uint8]),
        "BatchNormGradient": ([x, *_kept(x, 1.0)[1], vector, vector, bits], [np.float32] * 3),
    }
    inputs, outputs = right[op_type]
    run(op_type, inputs, outputs=outputs)
    wrong = [changed.get(index, array) for index, array in enumerate(inputs)]
    if op_type == "BatchNormGradient" and 2 in changed and changed[2].size == 3:
        wrong[1] = np.zeros(23, np.float32)
    with pytest.raises(Exception, match=f"{op_type}: "):
        run(op_type, wrong, outputs=outputs)
