"""Kept values in 28 bits, on every instruction set that this machine has."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graphs.numpy_kernels import pack_values, unpack_values
from tests.kernels.harness import instruction_sets, run

ISAS = pytest.mark.parametrize("isa", instruction_sets())
COUNTS = st.integers(0, 300) | st.integers(4000, 4200) | st.sampled_from([8192, 70001])
EXACT = 2.0**-14
"""Of the largest: a value of at least this magnitude comes back as it was."""


def _pack(values: np.ndarray, isa: str) -> np.ndarray:
    (packed,) = run("PackValues", [values], outputs=[np.uint8], isa=isa)
    return packed


def _unpack(packed: np.ndarray, isa: str) -> np.ndarray:
    (values,) = run("UnpackValues", [packed], isa=isa)
    return values


def _values(count: int, seed: int, decades: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-decades, decades, count)
    return (random.standard_normal(count) * scale).astype(np.float32)


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99))
def test_values_of_like_magnitude_come_back_as_they_were(isa: str, count: int, seed: int) -> None:
    values = _values(count, seed, 0)
    largest = np.abs(values).max(initial=0)
    values = values[np.abs(values) >= EXACT * largest]
    packed = _pack(values, isa)
    assert packed.size == 3 * values.size + -(-values.size // 2) + 1
    np.testing.assert_array_equal(_unpack(packed, isa).view(np.uint32), values.view(np.uint32))


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99), decades=st.integers(1, 30))
def test_small_ones_are_as_near_as_the_largest_ones_rounding(isa: str, count: int, seed: int, decades: int) -> None:
    values = _values(count, seed, decades)
    found = _unpack(_pack(values, isa), isa)
    largest = float(np.abs(values).max(initial=0))
    errors = np.abs(found.astype(np.float64) - values)
    exact = np.abs(values) >= EXACT * largest
    assert not errors[exact].any()
    assert (errors <= np.minimum(2.0**-31 * largest, 2.0**-16 * np.abs(values) + 1e-43)).all()


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99), decades=st.integers(0, 30))
def test_the_packed_form_is_that_of_the_description(isa: str, count: int, seed: int, decades: int) -> None:
    values = _values(count, seed, decades)
    packed = _pack(values, isa)
    np.testing.assert_array_equal(packed, pack_values({}, values))
    np.testing.assert_array_equal(_unpack(packed, isa), unpack_values({}, packed))


@ISAS
@pytest.mark.parametrize("special", [[0.0, -0.0, 1.0], [np.inf, -np.inf, np.nan, 3e38], [0.0] * 5, [1e-40, -1e-45]])
def test_zeros_infinities_and_nan_come_back(isa: str, special: list[float]) -> None:
    values = np.array(special, np.float32)
    np.testing.assert_array_equal(_unpack(_pack(values, isa), isa).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_result(threads: int) -> None:
    values = _values(100_001, 0, 3)
    (packed,) = run("PackValues", [values], outputs=[np.uint8], threads=threads)
    np.testing.assert_array_equal(packed, pack_values({}, values))


@pytest.mark.parametrize("size", [0, 2, 4, 9])
def test_bytes_that_are_no_packed_values_are_refused(size: int) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="are no packed values"):
        run("UnpackValues", [np.zeros(size, np.uint8)])
