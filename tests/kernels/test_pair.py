"""One store for two layers: what SparsifyPair keeps and what is chosen of it for each of them."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.tensor_size import kept_count
from tests.kernels.harness import instruction_sets, run
from tests.kernels.sparse import encode, largest, sparsify

ISAS = pytest.mark.parametrize("isa", instruction_sets())
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)) | st.sampled_from(
    [(2, 3), (1, 1, 64), (2, 4, 7, 7), (1, 2, 4097), (3, 5, 33, 90), (0, 3, 4), (2, 16, 49, 49)]
)
RATIOS = st.sampled_from([0.0, 0.1, 0.5, 0.8, 0.9, 0.99, 1.0]) | st.floats(0, 1, width=32)
NOWHERE = [0x7FFFFFFF, -1]


class Layers:
    """What the two layers read of one random activation."""

    def __init__(self, shape: tuple[int, ...], seed: int, coarse: bool = False) -> None:
        """The slopes are powers of two, so that rounding between product and sum changes nothing."""
        random = np.random.default_rng(seed)
        z = random.standard_normal(shape)
        self.z = (np.round(z) if coarse else z).astype(np.float32)
        self.mean = np.round(random.standard_normal(shape[1])).astype(np.float32)
        self.slope = random.choice(np.array([-2.0, -0.5, 0.25, 1.0, 2.0], np.float32), shape[1])
        self.bias = np.round(random.standard_normal(shape[1])).astype(np.float32)
        self.c = self.z - self.column(self.mean)
        self.y = np.maximum(self.c * self.column(self.slope) + self.column(self.bias), 0)

    def column(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.reshape(1, -1, *[1] * (self.z.ndim - 2))

    def store(self, ratios: tuple[float, float], isa: str, threads: int = 1) -> list[np.ndarray]:
        numbers = [np.array([ratio], np.float32) for ratio in ratios]
        inputs = [self.z, *numbers, self.mean, self.slope, self.bias]
        return run("SparsifyPair", inputs, outputs=[np.float32, np.uint8, np.int64], isa=isa, threads=threads)

    def norm(self, store: list[np.ndarray], isa: str) -> list[np.ndarray]:
        return run("SelectNorm", self._inputs(store), outputs=[np.float32, np.uint8], isa=isa)

    def conv(self, store: list[np.ndarray], isa: str) -> list[np.ndarray]:
        inputs = [*self._inputs(store), self.slope, self.bias]
        return run("SelectConv", inputs, outputs=[np.float32, np.uint8], isa=isa)

    def _inputs(self, store: list[np.ndarray]) -> list[np.ndarray]:
        values, places, bounds = store
        return [values, places, np.array(self.z.shape), bounds]


def _bounds(x: np.ndarray, ratio: float) -> list[int]:
    """The smallest kept magnitude and the index of the last kept element of that magnitude."""
    count = kept_count(x.size, ratio)
    if count in (0, x.size):
        return [0, count - 1] if count else NOWHERE
    bits = x.reshape(-1).view(np.int32) & 0x7FFFFFFF
    kept = np.flatnonzero(largest(x, count).reshape(-1))
    smallest = bits[kept].min()
    return [int(smallest), int(kept[bits[kept] == smallest][-1])]


def _assert_same(found: list[np.ndarray], expected: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@ISAS
@given(shape=SHAPES, seed=st.integers(0, 99), coarse=st.booleans(), ratios=st.tuples(RATIOS, RATIOS))
def test_each_layer_gets_what_it_alone_would_have_kept(
    isa: str, shape: tuple[int, ...], seed: int, coarse: bool, ratios: tuple[float, float]
) -> None:
    layers = Layers(shape, seed, coarse)
    store = layers.store(ratios, isa)
    counts = [kept_count(layers.z.size, ratio) for ratio in ratios]
    union = largest(layers.c, counts[0]) | largest(layers.y, counts[1])
    bounds = [*_bounds(layers.c, ratios[0]), *_bounds(layers.y, ratios[1]), *counts]
    _assert_same(store, (layers.c[union], encode(union), np.array(bounds)))
    _assert_same(layers.norm(store, isa), sparsify(layers.c, ratios[0]))
    _assert_same(layers.conv(store, isa), sparsify(layers.y, ratios[1]))


@ISAS
def test_zeros_are_kept_where_fewer_are_positive(isa: str) -> None:
    layers = Layers((2, 3, 5, 7), 0)
    layers.bias[:] = -100
    layers.y[:] = 0
    store = layers.store((0.99, 0.5), isa)
    values, places = layers.conv(store, isa)
    assert not values.any()
    _assert_same([values, places], sparsify(layers.y, 0.5))


@ISAS
def test_two_threads_store_the_same(isa: str) -> None:
    layers = Layers((4, 8, 56, 57), 1)
    _assert_same(layers.store((0.9, 0.8), isa), tuple(layers.store((0.9, 0.8), isa, threads=2)))


@ISAS
@given(seed=st.integers(0, 99), ratios=st.tuples(RATIOS, RATIOS))
def test_the_convolution_reads_what_the_normalization_wrote(isa: str, seed: int, ratios: tuple[float, float]) -> None:
    """With any slope, and bit for bit."""
    layers = Layers((2, 5, 7, 13), seed)
    random = np.random.default_rng(seed)
    scale, inverse, layers.bias = (random.standard_normal(5).astype(np.float32) for _ in range(3))
    layers.slope = scale * inverse
    inputs = [layers.z, scale, layers.bias, layers.mean, inverse]
    y, _ = run("BatchNormalizeRelu", inputs, outputs=[np.float32, np.uint8], isa=isa)
    _assert_same(layers.conv(layers.store(ratios, isa), isa), sparsify(y, ratios[1]))


@ISAS
@pytest.mark.parametrize("seed", range(4))
def test_a_value_at_the_bound_may_have_been_rounded(isa: str, seed: int) -> None:
    """As PackValues rounds what lies far below the largest, here the bound itself."""
    layers = Layers((2, 3, 5, 7), seed)
    values, places, bounds = layers.store((0.01, 0.01), isa)
    for nearest in (0.999, 1.001):
        rounded = np.where(np.abs(values) == np.abs(values).min(), values * np.float32(nearest), values)
        kept, _ = layers.norm([rounded, places, bounds], isa)
        assert abs(len(kept) - bounds[4]) <= 1


def _changed(bounds: np.ndarray, place: int, value: int) -> np.ndarray:
    changed = bounds.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(("place", "value"), [(0, -1), (0, 2**31), (1, -2), (1, 2**40), (4, 3), (4, -1), (0, 0)])
def test_bounds_of_another_store_are_refused(place: int, value: int) -> None:
    layers, isa = Layers((2, 3, 5, 7), 0), instruction_sets()[-1]
    values, places, bounds = layers.store((0.9, 0.5), isa)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="bounds"):
        layers.norm([values, places, _changed(bounds, place, value)], isa)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="bounds"):
        layers.norm([values, places, bounds[:5]], isa)


@pytest.mark.parametrize("name", ["mean", "slope", "bias"])
def test_numbers_of_other_channels_are_refused(name: str) -> None:
    layers, isa = Layers((2, 3, 5, 7), 0), instruction_sets()[-1]
    setattr(layers, name, np.ones(2, np.float32))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="for each channel"):
        layers.store((0.9, 0.5), isa)
