"""Sparsify and what reads it, on every instruction set that this machine has."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.tensor_size import kept_count
from tests.kernels.harness import instruction_sets, run
from tests.kernels.sparse import encode, half, largest, sparsify

ISAS = pytest.mark.parametrize("isa", instruction_sets())
RATIOS = st.sampled_from([0.0, 0.1, 0.5, 0.8, 0.8125, 0.813, 0.9, 0.99, 1.0]) | st.floats(0, 1, width=32)
COUNTS = st.integers(0, 300) | st.integers(4000, 4200) | st.integers(33000, 33200) | st.sampled_from([8192, 70001])
STORED: dict[type, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    np.float32: ("Sparsify", np.asarray),
    np.float16: ("SparsifyHalf", half),
}
"""The type of the stored values: which operator gives it, and how it rounds."""


def _normal(random: np.random.Generator, count: int) -> np.ndarray:
    return random.standard_normal(count)


def _rectified(random: np.random.Generator, count: int) -> np.ndarray:
    return np.maximum(random.standard_normal(count), 0)


def _few_values(random: np.random.Generator, count: int) -> np.ndarray:
    return np.round(2 * random.standard_normal(count))


def _constant(random: np.random.Generator, count: int) -> np.ndarray:
    return np.full(count, -1.5)


def _zeros(random: np.random.Generator, count: int) -> np.ndarray:
    return np.where(random.random(count) < 0.5, 0.0, -0.0)


def _special(random: np.random.Generator, count: int) -> np.ndarray:
    return random.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38, -65520.0, 1.0], count)


def _two_crowds(random: np.random.Generator, count: int) -> np.ndarray:
    """A distribution that no sample foretells: almost all elements are alike, few are large."""
    x = random.uniform(1, 1.0000005, count)
    x[:: max(count // 7, 1)] = 1e6
    return x


def _uneven(random: np.random.Generator, count: int) -> np.ndarray:
    """All that is large is in one place."""
    return np.sort(random.standard_normal(count) ** 3)


Kind = Callable[[np.random.Generator, int], np.ndarray]
KINDS: list[Kind] = [
    _normal,
    _rectified,
    _few_values,
    _constant,
    _zeros,
    _special,
    _two_crowds,
    _uneven,
]


@st.composite
def tensors(draw: st.DrawFn, counts: st.SearchStrategy[int] = COUNTS) -> np.ndarray:
    kind, count, seed = draw(st.sampled_from(KINDS)), draw(counts), draw(st.integers(0, 99))
    return np.asarray(kind(np.random.default_rng(seed), count), np.float32)


def _sparsify(
    isa: str,
    x: np.ndarray,
    ratio: float,
    center: np.ndarray | None = None,
    kind: type = np.float32,
    threads: int = 1,
) -> list[np.ndarray]:
    inputs = [x, np.array([ratio], np.float32), center]
    return run(STORED[kind][0], inputs, outputs=[kind, np.uint8], isa=isa, threads=threads)


def _bits(array: np.ndarray) -> np.ndarray:
    """Compared in place of numbers, NaN is equal to itself and 0 not to -0."""
    return array.view(np.uint16 if array.dtype == np.float16 else np.uint32)


def _assert_same(found: list[np.ndarray], values: np.ndarray, places: np.ndarray) -> None:
    assert found[0].dtype == values.dtype
    np.testing.assert_array_equal(_bits(found[0]), _bits(values))
    np.testing.assert_array_equal(found[1], places)


@ISAS
@given(x=tensors(), ratio=RATIOS)
def test_the_largest_are_kept(isa: str, x: np.ndarray, ratio: float) -> None:
    values, places = sparsify(x, ratio)
    _assert_same(_sparsify(isa, x, ratio), values, places)


@ISAS
@given(x=tensors(), ratio=RATIOS)
def test_float16_values_are_the_nearest(isa: str, x: np.ndarray, ratio: float) -> None:
    values, places = sparsify(x, ratio)
    found = _sparsify(isa, x, ratio, kind=np.float16)
    np.testing.assert_array_equal(found[0], half(values))
    np.testing.assert_array_equal(found[1], places)


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)) | st.sampled_from(
    [(2, 3), (1, 1, 64), (3, 5, 65), (2, 4, 7, 7), (2, 3, 130), (1, 2, 4097), (5, 6, 32, 40), (0, 3, 4), (2, 9, 49, 49)]
)


@ISAS
@pytest.mark.parametrize("kind", STORED)
@given(shape=SHAPES, ratio=RATIOS, seed=st.integers(0, 99))
def test_a_center_is_subtracted(isa: str, kind: type, shape: tuple[int, ...], ratio: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape).astype(np.float32)
    center = random.standard_normal(shape[1]).astype(np.float32)
    centered = x - center.reshape(1, -1, *[1] * (len(shape) - 2))
    values, places = sparsify(centered, ratio)
    _assert_same(_sparsify(isa, x, ratio, center, kind), STORED[kind][1](values), places)


@ISAS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_two_threads_keep_the_same(isa: str, kind: Kind, ratio: float) -> None:
    x = np.asarray(kind(np.random.default_rng(3), 200_003), np.float32)
    one, two = (_sparsify(isa, x, ratio, threads=threads) for threads in (1, 2))
    _assert_same(two, *one)
    _assert_same(one, *sparsify(x, ratio))


@ISAS
def test_a_wrong_threshold_would_be_noticed(isa: str) -> None:
    """The negative control of the comparisons above: one element more is another result."""
    x = np.arange(1, 41, dtype=np.float32)
    assert _sparsify(isa, x, 0.5)[0].size != sparsify(x, 0.475)[0].size


@pytest.mark.parametrize("ratio", [[-0.1], [1.1], [np.nan], [0.5, 0.5], []])
def test_sparsify_refuses_a_ratio_that_is_none(ratio: list[float]) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="prune ratio"):
        run("Sparsify", [np.ones(5, np.float32), np.array(ratio, np.float32), None], outputs=[np.float32, np.uint8])


@pytest.mark.parametrize(("shape", "center"), [((4,), (4,)), ((2, 3, 4), (2,)), ((2, 3, 4), (3, 1)), ((2, 3), ())])
def test_sparsify_refuses_a_center_that_does_not_fit(shape: tuple[int, ...], center: tuple[int, ...]) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="center"):
        _sparsify(instruction_sets()[-1], np.ones(shape, np.float32), 0.5, np.ones(center, np.float32))


def _densify(isa: str, values: np.ndarray, places: np.ndarray, shape: tuple[int, ...], threads: int = 1) -> np.ndarray:
    (dense,) = run("Densify", [values, places, np.array(shape, np.int64)], isa=isa, threads=threads)
    return dense


@ISAS
@pytest.mark.parametrize("kind", STORED)
@given(x=tensors(), ratio=RATIOS, columns=st.integers(1, 5))
def test_densify_restores_what_was_kept(isa: str, kind: type, x: np.ndarray, ratio: float, columns: int) -> None:
    x = STORED[kind][1](x[: x.size // columns * columns].reshape(-1, columns))
    values, places = sparsify(x, ratio)
    dense = _densify(isa, values, places, x.shape)
    assert dense.shape == x.shape
    flags = largest(x, values.size)
    np.testing.assert_array_equal(_bits(dense), _bits(np.where(flags, x.astype(np.float32), np.float32(0))))


@ISAS
def test_two_threads_restore_the_same(isa: str) -> None:
    x = np.random.default_rng(0).standard_normal(100_001).astype(np.float32)
    values, places = sparsify(x, 0.9)
    one, two = (_densify(isa, values, places, x.shape, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@ISAS
@pytest.mark.parametrize("kind", STORED)
@given(x=tensors(), ratios=st.tuples(RATIOS, RATIOS).map(sorted))
def test_narrow_keeps_what_sparsify_would_have(
    isa: str, kind: type, x: np.ndarray, ratios: tuple[float, float]
) -> None:
    x = STORED[kind][1](x)
    values, places = sparsify(x, ratios[0])
    inputs = [values, places, np.array(x.shape, np.int64), np.array([ratios[1]], np.float32)]
    _assert_same(run("Narrow", inputs, outputs=[kind, np.uint8], isa=isa), *sparsify(x, ratios[1]))


def test_narrow_cannot_widen() -> None:
    x = np.arange(1, 41, dtype=np.float32)
    values, places = sparsify(x, 0.5)
    inputs = [values, places, np.array([40]), np.array([0.475], np.float32)]
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="20 values cannot be narrowed to 21"):
        run("Narrow", inputs, outputs=[np.float32, np.uint8])


def test_values_that_are_too_large_for_float16_are_the_largest_that_is_not() -> None:
    x = np.array([1e6, -1e6, 65519.9, 65520, np.inf, np.nan, 65504, 1e-9], np.float32)
    values, _ = _sparsify(instruction_sets()[-1], x, 0.0, kind=np.float16)
    np.testing.assert_array_equal(values, np.array([65504, -65504, 65504, 65504, 65504, np.nan, 65504, 0], np.float16))


def test_counts_are_those_of_the_budget() -> None:
    """The planner counts kept elements with the function that is used here to check the kernel."""
    for ratio in (0.1, 0.3, 0.7, 0.9):
        x = np.ones(1_000_003, np.float32)
        assert _sparsify(instruction_sets()[-1], x, ratio)[0].size == kept_count(x.size, float(np.float32(ratio)))


@ISAS
@given(n=st.integers(1, 9000), kept=st.floats(0, 0.18), seed=st.integers(0, 99))
def test_coded_places_are_short(isa: str, n: int, kept: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    values, places = _sparsify(isa, x, 1 - kept)
    fours = -(-n // 4)
    if 16 * values.size < 3 * n:
        assert places.size <= -(-fours // 8) + -(-min(values.size, fours) // 2)
        np.testing.assert_array_equal(places, encode(largest(x, values.size)))
    else:
        assert places.size == -(-n // 8)
