"""Masks of one bit an element, on every instruction set that this machine has."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run

ISAS = pytest.mark.parametrize("isa", instruction_sets())
COUNTS = st.integers(0, 300) | st.integers(4000, 4200) | st.sampled_from([8192, 70001])
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0, 3e38], np.float32)


def _floats(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(SPECIAL, count)


def _flags(count: int, seed: int, share: float = 0.4) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed + 1).random(count) < share)


def _pack(flags: np.ndarray) -> np.ndarray:
    return np.packbits(flags, bitorder="little")


def _with_garbage_at_its_end(bits: np.ndarray, count: int) -> np.ndarray:
    """All bits past the end are set: none of them may have an effect."""
    bits = bits.copy()
    if count % 8:
        bits[-1] |= 0xFF << count % 8 & 0xFF
    return bits


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99))
def test_positive_elements_are_packed(isa: str, count: int, seed: int) -> None:
    x = _floats(count, seed)
    (bits,) = run("PackPositive", [x], outputs=[np.uint8], isa=isa)
    np.testing.assert_array_equal(bits, _pack(x > 0))


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99))
def test_masks_survive_packing(isa: str, count: int, seed: int) -> None:
    flags = _flags(count, seed)
    (bits,) = run("PackMask", [flags], outputs=[np.uint8], isa=isa)
    np.testing.assert_array_equal(bits, _pack(flags))
    shape = np.array([1, count])
    (unpacked,) = run("UnpackMask", [_with_garbage_at_its_end(bits, count), shape], outputs=[np.bool_], isa=isa)
    np.testing.assert_array_equal(unpacked, flags.reshape(1, count))


@ISAS
@pytest.mark.parametrize("in_place", [False, True])
@given(count=COUNTS, seed=st.integers(0, 99))
def test_what_is_not_in_the_mask_becomes_zero(isa: str, in_place: bool, count: int, seed: int) -> None:
    x, flags = _floats(count, seed), _flags(count, seed)
    bits = _with_garbage_at_its_end(_pack(flags), count)
    (y,) = run("ApplyMask", [x, bits], isa=isa, in_place=in_place)
    np.testing.assert_array_equal(y.view(np.uint32), np.where(flags, x, np.float32(0)).view(np.uint32))


@ISAS
@given(count=COUNTS, seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_masked_elements_are_gathered_and_scattered(isa: str, count: int, seed: int, share: float) -> None:
    x, flags = _floats(count, seed), _flags(count, seed, share)
    bits = _with_garbage_at_its_end(_pack(flags), count)
    (values,) = run("GatherMasked", [x, bits], isa=isa)
    np.testing.assert_array_equal(values.view(np.uint32), x[flags].view(np.uint32))
    (dense,) = run("ScatterMasked", [values, bits, np.array([count, 1])], isa=isa)
    assert dense.shape == (count, 1)
    np.testing.assert_array_equal(dense.reshape(-1), np.where(flags, x, 0))


@ISAS
@pytest.mark.parametrize("in_place", [False, True])
@given(count=COUNTS, seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_masked_elements_are_added_to(isa: str, in_place: bool, count: int, seed: int, share: float) -> None:
    x, flags = np.random.default_rng(seed).standard_normal(count).astype(np.float32), _flags(count, seed, share)
    values = np.random.default_rng(seed + 2).standard_normal(np.count_nonzero(flags)).astype(np.float32)
    bits = _with_garbage_at_its_end(_pack(flags), count)
    (y,) = run("AddMasked", [x, values, bits], isa=isa, in_place=in_place)
    expected = x.copy()
    expected[flags] += values
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_result(threads: int) -> None:
    x, flags = _floats(100_001, 0), _flags(100_001, 0)
    bits = _pack(flags)
    (packed,) = run("PackPositive", [x], outputs=[np.uint8], threads=threads)
    (values,) = run("GatherMasked", [x, bits], threads=threads)
    (dense,) = run("ScatterMasked", [values, bits, np.array([x.size])], threads=threads)
    np.testing.assert_array_equal(packed, _pack(x > 0))
    np.testing.assert_array_equal(dense, np.where(flags, x, 0))


X, BITS = np.ones(20, np.float32), np.array([255, 1, 0], np.uint8)


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [
        ("ApplyMask", [X, BITS[:2]]),
        ("ApplyMask", [X, np.append(BITS, BITS)]),
        ("UnpackMask", [BITS, np.array([25])]),
        ("GatherMasked", [X, BITS[:2]]),
        ("AddMasked", [X, X[:8], BITS]),
        ("AddMasked", [X, X[:10], BITS]),
        ("AddMasked", [X, X[:9], BITS[:2]]),
        ("ScatterMasked", [X[:8], BITS, np.array([20])]),
        ("ScatterMasked", [X[:9], BITS, np.array([25])]),
    ],
)
def test_masks_that_do_not_fit_are_refused(op_type: str, inputs: list[np.ndarray]) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=r"elements|values for a mask"):
        run(op_type, inputs, outputs=[np.bool_ if op_type == "UnpackMask" else np.float32])
