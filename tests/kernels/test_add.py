"""Sums in place and copies, on every instruction set that this machine has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run

every_isa = pytest.mark.parametrize("isa", instruction_sets())
either_way = pytest.mark.parametrize("in_place", [False, True])


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


@every_isa
@either_way
@pytest.mark.parametrize("shape", [(0,), (), (1,), (17,), (3, 5, 7), (32769,), (5, 20001)])
def test_sums(isa: str, in_place: bool, shape: tuple[int, ...]) -> None:
    a, b = _random(*shape), _random(*shape, seed=1)
    (y,) = run("AddInto", [a, b], isa=isa, in_place=in_place and shape != (), threads=2)
    np.testing.assert_array_equal(y, a + b)


@every_isa
def test_sums_of_what_is_not_finite(isa: str) -> None:
    a = np.array([np.nan, np.inf, np.inf, -0.0, 3e38], np.float32)
    b = np.array([1, -np.inf, np.inf, -0.0, 3e38], np.float32)
    with np.errstate(all="ignore"):
        wanted = a + b
    (y,) = run("AddInto", [a, b], isa=isa)
    np.testing.assert_array_equal(y, wanted)
    assert np.signbit(y[3])


@pytest.mark.parametrize("other", [(6,), (3, 2), (2, 3, 1), (1, 3), ()])
def test_sums_of_other_shapes_are_refused(other: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match="AddInto: "):
        run("AddInto", [_random(2, 3), _random(*other)])


@every_isa
@pytest.mark.parametrize("shape", [(0,), (), (7,), (2, 3, 40, 41), (100001,)])
def test_copies(isa: str, shape: tuple[int, ...]) -> None:
    x = _random(*shape)
    (y,) = run("Copy", [x], isa=isa, threads=2)
    np.testing.assert_array_equal(y, x)


@every_isa
@given(
    planes=st.tuples(st.integers(0, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    in_place=st.booleans(),
)
def test_strided_sums(
    isa: str, planes: tuple[int, int], size: tuple[int, int], strides: tuple[int, int], in_place: bool
) -> None:
    x = _random(*planes, *size)
    wanted = x.copy()
    chosen = wanted[:, :, :: strides[0], :: strides[1]]
    small = _random(*chosen.shape, seed=1)
    chosen += small
    (y,) = run("AddStrided", [x, small], {"strides": strides}, isa=isa, in_place=in_place)
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    ("x", "small", "strides"),
    [
        ((1, 2, 7, 7), (1, 2, 4, 3), (2, 2)),
        ((1, 2, 7, 7), (1, 1, 4, 4), (2, 2)),
        ((1, 2, 7, 7), (2, 4, 4), (2, 2)),
        ((2, 7, 7), (2, 4, 4), (2, 2)),
        ((1, 2, 7, 7), (1, 2, 4, 4), (0, 2)),
        ((1, 2, 7, 7), (1, 2, 4, 4), (-2, 2)),
    ],
)
def test_strided_sums_that_do_not_fit_are_refused(
    x: tuple[int, ...], small: tuple[int, ...], strides: tuple[int, int]
) -> None:
    with pytest.raises(Exception, match="AddStrided: "):
        run("AddStrided", [_random(*x), _random(*small)], {"strides": strides})
