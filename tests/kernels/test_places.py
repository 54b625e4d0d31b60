"""Places that are no places are refused; garbage among them harms nobody."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run
from tests.kernels.sparse import encode, largest

ISAS = pytest.mark.parametrize("isa", instruction_sets())
COUNTS = (1, 40, 4096, 5000, 50_000)


def _places(n: int, kept: int) -> np.ndarray:
    return encode(largest(np.random.default_rng(n).standard_normal(n), kept))


def _densify(isa: str, kept: int, places: np.ndarray, n: int) -> np.ndarray:
    (dense,) = run("Densify", [np.ones(kept, np.float32), places, np.array([n])], isa=isa)
    return dense


@ISAS
@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("kept", [0.05, 0.5])
def test_places_of_another_number_of_elements_are_refused(isa: str, n: int, kept: float) -> None:
    count = int(n * kept)
    places = _places(n, count)
    assert _densify(isa, count, places, n).sum() == count
    changed = np.array([*places[:-1], places[-1] ^ 1], np.uint8)
    for wrong in (places[:-1], np.append(places, np.uint8(1)), places[:0], changed):
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=r"places|a bit for each"):
            _densify(isa, count, wrong, n)


@pytest.mark.parametrize("shape", [[-1], [2, -3], [2**40, 2**40], [1] * 9])
def test_shapes_that_are_none_are_refused(shape: list[int]) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="no shape"):
        run("Densify", [np.ones(0, np.float32), np.zeros(0, np.uint8), np.array(shape)])


@ISAS
@given(n=st.integers(0, 9000), kept=st.integers(0, 9000), size=st.integers(0, 2000), seed=st.integers(0, 99))
def test_garbage_gives_a_tensor_or_an_error(isa: str, n: int, kept: int, size: int, seed: int) -> None:
    garbage = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    try:
        assert np.count_nonzero(_densify(isa, kept, garbage, n)) <= kept
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as refusal:
        assert "Densify" in str(refusal)
