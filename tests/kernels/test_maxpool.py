"""MaxPool and its gradient, on every instruction set that this machine has, window by window."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.kernels.harness import instruction_sets, run

every_isa = pytest.mark.parametrize("isa", instruction_sets())


@dataclass(frozen=True)
class Pool:
    shape: tuple[int, ...]
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (2, 2)
    pads: tuple[int, ...] = (1, 1, 1, 1)
    rectified: bool = False

    @property
    def attributes(self) -> dict[str, int | tuple[int, ...]]:
        geometry = {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads}
        return {**geometry, "rectified": int(self.rectified)}

    @property
    def pooled(self) -> tuple[int, ...]:
        rooms = [self.shape[axis + 2] + self.pads[axis] + self.pads[axis + 2] - self.kernel[axis] for axis in (0, 1)]
        return (*self.shape[:2], *(room // stride + 1 for room, stride in zip(rooms, self.strides, strict=True)))

    @property
    def packed(self) -> bool:
        return self.kernel[0] * self.kernel[1] <= 15

    def windows(self) -> Iterator[tuple[tuple[int, ...], list[tuple[int, tuple[int, int]]]]]:
        """Each output's index, and the codes and places in the plane of all that its window covers."""
        for index in np.ndindex(*self.pooled):
            top, left = (index[axis + 2] * self.strides[axis] - self.pads[axis] for axis in (0, 1))
            covered = [
                (row * self.kernel[1] + column, (top + row, left + column))
                for row, column in np.ndindex(*self.kernel)
                if 0 <= top + row < self.shape[2] and 0 <= left + column < self.shape[3]
            ]
            yield index, covered


def _pool_of(draw: st.DrawFn) -> Pool:
    kernel = draw(st.sampled_from([(1, 1), (2, 2), (3, 3), (2, 3), (5, 3), (4, 4), (1, 7), (3, 1), (2, 40), (1, 255)]))
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    least = [max(1, kernel[axis] - pads[axis] - pads[axis + 2]) for axis in (0, 1)]
    size = [draw(st.integers(smallest, smallest + 9)) for smallest in least]
    return Pool(
        (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *size),
        kernel,
        draw(st.sampled_from([(1, 1), (2, 2), (3, 3), (1, 2), (3, 1), (5, 7), (1, 255)])),
        pads,
        draw(st.booleans()),
    )


POOLS = st.composite(_pool_of)()


def _values(shape: tuple[int, ...], seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    if kind == "ties":
        return np.sign(x) * (np.abs(x) > 0.5)
    if kind == "not finite":
        x = rng.choice(np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1], np.float32), shape)
    return np.maximum(x, 0) if kind == "relu" else x


def _expected(pool: Pool, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y, and the codes, one an element."""
    y, codes = np.empty(pool.pooled, np.float32), np.empty(pool.pooled, np.uint8)
    for index, covered in pool.windows():
        values = np.array([x[(*index[:2], *place)] for _, place in covered])
        first = int(np.argmax(values))  # of NaN, which it takes for the largest, or of the maximum
        y[index], codes[index] = values[first], covered[first][0]
    if pool.rectified:
        codes[~(y > 0)] = 15 if pool.packed else 255
    return y, codes


def _packed(pool: Pool, codes: np.ndarray) -> np.ndarray:
    flat = codes.reshape(-1)
    if not pool.packed:
        return flat
    pairs = np.pad(flat, (0, flat.size % 2)).reshape(-1, 2)
    packed: np.ndarray = pairs[:, 0] | pairs[:, 1] << 4
    return packed


def _pooled(pool: Pool, x: np.ndarray, isa: str, threads: int = 1) -> list[np.ndarray]:
    return run("MaxPool", [x], pool.attributes, [np.float32, np.uint8], isa, threads=threads)


def _spread(pool: Pool, dy: np.ndarray, codes: np.ndarray, isa: str, threads: int = 1) -> np.ndarray:
    inputs = [dy, codes, np.array(pool.shape, np.int64)]
    (dx,) = run("MaxPoolGradient", inputs, pool.attributes, isa=isa, threads=threads)
    return dx


@every_isa
@given(pool=POOLS, seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["normal", "ties", "not finite", "relu"]))
def test_the_first_maximum_of_each_window(isa: str, pool: Pool, seed: int, kind: str) -> None:
    x = _values(pool.shape, seed, kind)
    y, codes = _pooled(pool, x, isa)
    wanted, wanted_codes = _expected(pool, x)
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(codes, _packed(pool, wanted_codes))


@every_isa
@given(pool=POOLS, seed=st.integers(0, 2**32 - 1))
def test_gradients_of_windows_add_up(isa: str, pool: Pool, seed: int) -> None:
    x = _values(pool.shape, seed, "ties")
    _, codes = _expected(pool, x)
    dy = np.random.default_rng(seed).integers(-99, 99, pool.pooled).astype(np.float32)  # whose sums are exact
    wanted = np.zeros(pool.shape)
    for index, covered in pool.windows():
        place = dict(covered).get(int(codes[index]))
        if place is not None:
            wanted[(*index[:2], *place)] += dy[index]
    np.testing.assert_array_equal(_spread(pool, dy, _packed(pool, codes), isa), wanted)


RESNET = Pool((2, 7, 113, 141))
LARGE = pytest.mark.parametrize("pool", [RESNET, Pool((1, 9, 140, 131), (2, 2), (1, 1), (0, 1, 0, 0))])


def _pooled_by_runtime(pool: Pool, x: np.ndarray) -> np.ndarray:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=pool.kernel, strides=pool.strides, pads=pool.pads)
    described = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "pool", described[:1], described[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    y: np.ndarray = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    return y


@every_isa
@LARGE
def test_large_planes_as_the_runtime_pools_them(isa: str, pool: Pool) -> None:
    x = _values(pool.shape, 3, "normal")
    y, codes = _pooled(pool, x, isa)
    np.testing.assert_array_equal(y, _pooled_by_runtime(pool, x))
    # What a gradient of ones finds is how often each maximum was taken.
    taken = _spread(pool, np.ones_like(y), codes, isa)
    assert taken.sum() == y.size
    assert set(x[taken > 0]) == set(y.reshape(-1))


@every_isa
@LARGE
def test_no_number_depends_on_the_threads(isa: str, pool: Pool) -> None:
    x, dy = _values(pool.shape, 4, "normal"), _values(pool.pooled, 5, "normal")
    alone, shared = (_pooled(pool, x, isa, threads) for threads in (1, 4))
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(_spread(pool, dy, alone[1], isa), _spread(pool, dy, alone[1], isa, threads=4))


@every_isa
@pytest.mark.parametrize("pad", [0, 1, 2])
def test_no_maximum_lies_outside_of_the_plane(isa: str, pad: int) -> None:
    """Not even where nothing is larger than what stands for the outside."""
    pool = Pool((1, 2, 5, 70), (3, 3), (1, 1), (pad,) * 4)
    x = np.full(pool.shape, -np.inf, np.float32)
    y, codes = _pooled(pool, x, isa)
    np.testing.assert_array_equal(y, -np.inf)
    np.testing.assert_array_equal(codes, _packed(pool, _expected(pool, x)[1]))


@every_isa
def test_no_gradient_passes_a_window_of_zeros(isa: str) -> None:
    pool = Pool((1, 1, 4, 4), (2, 2), (2, 2), (0, 0, 0, 0), rectified=True)
    x = np.zeros(pool.shape, np.float32)
    x[0, 0, 3, 2] = 5
    _, codes = _pooled(pool, x, isa)
    np.testing.assert_array_equal(codes, [0xFF, 0x2F])
    dx = _spread(pool, np.full(pool.pooled, 7, np.float32), codes, isa)
    np.testing.assert_array_equal(dx, x / 5 * 7)
    _, all_codes = _pooled(Pool(pool.shape, pool.kernel, pool.strides, pool.pads), x, isa)
    np.testing.assert_array_equal(all_codes, [0, 0x20])


@every_isa
def test_no_images(isa: str) -> None:
    pool = Pool((0, 3, 8, 8))
    y, codes = _pooled(pool, np.zeros(pool.shape, np.float32), isa)
    assert y.shape == (0, 3, 4, 4) and codes.shape == (0,)
    assert _spread(pool, y, codes, isa).shape == pool.shape


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ((1, 1, 8), {}),
        ((1, 1, 0, 8), {}),
        ((1, 1, 2, 2), {"kernel_shape": (5, 5)}),
        ((1, 1, 8, 8), {"kernel_shape": (0, 1)}),
        ((1, 1, 99, 99), {"kernel_shape": (16, 16)}),
        ((1, 1, 8, 8), {"strides": (0, 1)}),
        ((1, 1, 8, 8), {"strides": (1, 256)}),
        ((1, 1, 8, 8), {"pads": (3, 0, 0, 0)}),
        ((1, 1, 8, 8), {"pads": (0, 0, -1, 0)}),
        ((1, 1, 8, 8), {"pads": (0, 0)}),
    ],
)
def test_windows_that_do_not_fit_are_refused(shape: tuple[int, ...], changed: dict[str, tuple[int, ...]]) -> None:
    attributes = {**RESNET.attributes, **changed}
    with pytest.raises(Exception, match="MaxPool: "):
        run("MaxPool", [np.zeros(shape, np.float32)], attributes, [np.float32, np.uint8])


@pytest.mark.parametrize(
    ("dy_shape", "codes", "shape"),
    [
        ((1, 1, 3, 3), np.zeros(8, np.uint8), (1, 1, 8, 8)),
        ((1, 1, 4, 4), np.zeros(7, np.uint8), (1, 1, 8, 8)),
        ((1, 1, 4, 4), np.zeros(8, np.uint8), (1, 8, 8)),
        ((1, 1, 4, 4), np.zeros(8, np.uint8), (1, 1, -8, 8)),
        ((1, 1, 4, 4), np.zeros(8, np.uint8), (1, 1, 8, 8)),
        ((1, 1, 4, 4), np.full(8, 0x99, np.uint8), (1, 1, 8, 8)),
        ((1, 1, 4, 4), np.full(8, 0xFF, np.uint8), (1, 1, 8, 8)),
    ],
)
def test_codes_that_do_not_fit_are_refused(
    dy_shape: tuple[int, ...], codes: np.ndarray, shape: tuple[int, ...]
) -> None:
    """The last three: a place above the plane, a place that no window has, and none where there has to be one."""
    with pytest.raises(Exception, match="MaxPoolGradient: "):
        run("MaxPoolGradient", [np.zeros(dy_shape, np.float32), codes, np.array(shape, np.int64)], RESNET.attributes)
