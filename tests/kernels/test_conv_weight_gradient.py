"""ConvWeightGradient, on every instruction set that this machine has, both ways, against the sum that it is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run

WAY = "TOOLCHAIN_WEIGHT_GRADIENT"

every_isa = pytest.mark.parametrize("isa", instruction_sets())
both_ways = pytest.mark.parametrize("way", ["sparse", "dense"])


ROUNDING = 2.0**-24
"""Of float32: the relative error of one operation, at most."""


@dataclass(frozen=True)
class Case:
    """A convolution of [images, channels, *size] to out_channels channels, and how much of its input is kept."""

    images: int = 2
    channels: int = 3
    size: tuple[int, int] = (9, 11)
    out_channels: int = 20
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    wanted: tuple[int, int] | None = None
    """The output channels in question, of all."""
    density: float = 0.3
    halves: bool = False

    @property
    def out_size(self) -> tuple[int, int]:
        room = [self.size[axis] + self.pads[axis] + self.pads[axis + 2] - self.kernel[axis] for axis in (0, 1)]
        return room[0] // self.strides[0] + 1, room[1] // self.strides[1] + 1

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        wanted = self.wanted or (0, self.out_channels)
        return {"kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads, "out_channels": wanted}

    def gradient(self) -> np.ndarray:
        shape = (self.images, self.out_channels, *self.out_size)
        return np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def activation(self) -> np.ndarray:
        """Of the type in which its values are stored."""
        rng = np.random.default_rng(2)
        shape = (self.images, self.channels, *self.size)
        dense = rng.standard_normal(shape).astype(np.float16 if self.halves else np.float32)
        return np.where(rng.random(shape) < self.density, dense, dense.dtype.type(0))


def stored(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values and places of all elements but zeros."""
    kept = x.reshape(-1) != 0
    plain = np.packbits(kept, bitorder="little")
    if 16 * np.count_nonzero(kept) >= 3 * x.size:
        return x.reshape(-1)[kept], plain
    groups = np.pad(kept, (0, -x.size % 4)).reshape(-1, 4)
    occupied = groups.any(axis=1)
    nibbles = groups[occupied] @ np.array([1, 2, 4, 8], np.uint8)
    pairs = np.pad(nibbles, (0, len(nibbles) % 2)).reshape(-1, 2)
    coded = np.concatenate([np.packbits(occupied, bitorder="little"), pairs[:, 0] | pairs[:, 1] << 4])
    return x.reshape(-1)[kept], coded.astype(np.uint8)


@contextmanager
def going(way: str | None) -> Iterator[None]:
    """The operator is told which way to go meanwhile, or chooses."""
    if way is not None:
        os.environ[WAY] = way
    try:
        yield
    finally:
        os.environ.pop(WAY, None)


def computed(
    case: Case, gradient: np.ndarray, x: np.ndarray, isa: str, way: str | None = None, threads: int = 1
) -> np.ndarray:
    inputs = [gradient, *stored(x), np.array(x.shape)]
    with going(way):
        (found,) = run("ConvWeightGradient", inputs, case.attributes, isa=isa, threads=threads)
    return found


def expected(case: Case, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The sum itself, tap by tap, in float64."""
    begin, end = case.attributes["out_channels"]
    (height, width), (down, across) = case.out_size, case.strides
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), case.pads[::2], case.pads[1::2]))
    chosen = gradient[:, begin:end].astype(np.float64)
    found = np.empty((end - begin, case.channels, *case.kernel))
    for i in range(case.kernel[0]):
        for j in range(case.kernel[1]):
            met = padded[:, :, i : i + down * height : down, j : j + across * width : across]
            found[:, :, i, j] = np.tensordot(chosen, met[:, :, :height, :width], ([0, 2, 3], [0, 2, 3]))
    return found


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted)) / max(float(np.linalg.norm(wanted)), 1e-30)


def check(case: Case, isa: str, way: str) -> None:
    """The error beside the size of what was added: sums that happen to be near zero are no more exact than others.

    It grows as the root of the number of what is added, in units of float32's rounding (Higham and Mary 2019, "A New
    Approach to Probabilistic Rounding Error Analysis", theorem 2.4).
    """
    gradient, x = case.gradient(), case.activation()
    found, wanted = computed(case, gradient, x, isa, way), expected(case, gradient, x)
    added = np.sqrt(expected(case, gradient**2, x.astype(np.float32) ** 2))
    assert found.shape == wanted.shape
    terms = case.images * case.out_size[0] * case.out_size[1]
    assert np.linalg.norm(found - wanted) <= ROUNDING * max(16.0, np.sqrt(terms)) * np.linalg.norm(added), case


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernels = st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7)]) | st.tuples(st.integers(1, 6), st.integers(1, 6))
    kernel = draw(kernels)
    around = (kernel[0] // 2, kernel[1] // 2) * 2
    pads = draw(st.just(around) | st.tuples(*[st.integers(0, 4)] * 4))
    least = [max(1, kernel[axis] - pads[axis] - pads[axis + 2]) for axis in (0, 1)]
    out_channels = draw(st.integers(1, 70))
    begin = draw(st.integers(0, out_channels - 1))
    return Case(
        images=draw(st.integers(1, 5)),
        channels=draw(st.integers(1, 20)),
        size=(draw(st.integers(least[0], 24)), draw(st.integers(least[1], 70))),
        out_channels=out_channels,
        kernel=kernel,
        strides=draw(st.sampled_from([(1, 1), (2, 2)]) | st.tuples(st.integers(1, 4), st.integers(1, 4))),
        pads=pads,
        wanted=(begin, draw(st.integers(begin + 1, out_channels))),
        density=draw(st.sampled_from([0.02, 0.1, 0.3, 1.0])),
        halves=draw(st.booleans()),
    )


@every_isa
@settings(max_examples=100, deadline=None)
@given(case=cases(), way=st.sampled_from(["sparse", "sparse", "sparse", "dense"]))
def test_any_convolution(isa: str, case: Case, way: str) -> None:
    check(case, isa, way)


@every_isa
@both_ways
@pytest.mark.parametrize(
    "case",
    [
        Case(8, 64, (56, 56), 64, density=0.1),
        Case(8, 64, (56, 56), 64, (1, 1), pads=(0, 0, 0, 0), density=0.1),
        Case(2, 32, (56, 56), 48, strides=(2, 2), density=0.1),
        Case(2, 64, (28, 28), 160, (1, 1), (2, 2), (0, 0, 0, 0), density=0.1),
        Case(8, 200, (7, 7), 100, density=0.1),
        Case(8, 600, (7, 7), 40, (1, 1), pads=(0, 0, 0, 0), density=0.05),
        Case(2, 400, (14, 14), 150, (1, 1), pads=(0, 0, 0, 0), density=1),
        Case(3, 300, (14, 14), 40, strides=(2, 2), density=1),
        Case(2, 3, (224, 224), 64, (7, 7), (2, 2), (3, 3, 3, 3), density=1),
        Case(2, 3, (64, 64), 48, (16, 16), (16, 16), (0, 0, 0, 0), density=1),
        Case(64, 16, (32, 32), 16, density=0.1, halves=True),
        Case(1, 2, (2, 5000), 5, (2, 9), (1, 3), (0, 4, 0, 4)),
    ],
    ids=lambda case: f"{case.channels}-{case.out_channels}-{case.kernel[0]}x{case.kernel[1]}-{case.size[0]}",
)
def test_shapes_of_networks(isa: str, way: str, case: Case) -> None:
    check(case, isa, way)


@every_isa
def test_nothing_kept_is_a_gradient_of_zero(isa: str) -> None:
    case = Case(density=0)
    found = computed(case, case.gradient(), case.activation(), isa)
    np.testing.assert_array_equal(found, np.zeros((20, 3, 3, 3), np.float32))


@every_isa
@pytest.mark.parametrize(
    "case",
    [Case(images=0), Case(channels=0), Case(out_channels=0), Case(size=(0, 3), pads=(2, 1, 2, 1)), Case(wanted=(7, 7))],
    ids=["no images", "no channels", "no output channels", "no rows", "an empty range"],
)
def test_empty_tensors(isa: str, case: Case) -> None:
    gradient, x = case.gradient(), case.activation()
    np.testing.assert_array_equal(computed(case, gradient, x, isa), expected(case, gradient, x))


@every_isa
def test_pieces_are_the_whole(isa: str) -> None:
    case = Case(channels=40, out_channels=96)
    gradient, x = case.gradient(), case.activation()
    whole = computed(case, gradient, x, isa)
    ranges = [(0, 16), (16, 17), (17, 80), (80, 96)]
    pieces = [computed(replace(case, wanted=wanted), gradient, x, isa) for wanted in ranges]
    assert distance(np.concatenate(pieces), whole) < 1e-6


@every_isa
@pytest.mark.parametrize("case", [Case(8, 64, (28, 28), 64), Case(4, 300, (7, 7), 300)], ids=["groups", "parts"])
def test_threads_change_nothing(isa: str, case: Case) -> None:
    gradient, x = case.gradient(), case.activation()
    one, three = (computed(case, gradient, x, isa, "sparse", threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


@every_isa
def test_threads_share_a_dense_product(isa: str) -> None:
    case = Case(8, 64, (28, 28), 64)
    gradient, x = case.gradient(), case.activation()
    assert distance(computed(case, gradient, x, isa, "dense", 3), expected(case, gradient, x)) < 1e-6


@every_isa
@pytest.mark.parametrize(("density", "way"), [(0.1, "sparse"), (1, "dense")])
def test_how_much_is_kept_decides_the_way(isa: str, density: float, way: str) -> None:
    """The ways differ in the last bits, as they add in different orders."""
    case = Case(channels=64, size=(28, 28), out_channels=64, kernel=(1, 1), pads=(0, 0, 0, 0), density=density)
    gradient, x = case.gradient(), case.activation()
    chosen, *both = (computed(case, gradient, x, isa, told) for told in (None, "sparse", "dense"))
    assert [np.array_equal(chosen, found) for found in both] == [way == "sparse", way == "dense"]


@every_isa
@both_ways
def test_nan_and_infinity_reach_their_channel_alone(isa: str, way: str) -> None:
    case = Case(density=1)
    gradient, x = case.gradient(), case.activation()
    x[1, 0, 4, 4], x[0, 2, 5, 5] = np.nan, np.inf
    found = computed(case, gradient, x, isa, way)
    assert np.isnan(found[:, 0]).all() and not np.isfinite(found[:, 2]).any()
    assert distance(found[:, 1], expected(case, gradient, x)[:, 1]) < 1e-6


@every_isa
@pytest.mark.parametrize("case", [Case(density=0.1), Case(density=1)], ids=["coded", "plain"])
def test_one_element_more_is_noticed(isa: str, case: Case) -> None:
    """Were an element lost, or in a neighbour's place, these comparisons would fail."""
    gradient, x = case.gradient(), case.activation()
    other = x.copy()
    other.reshape(-1)[np.flatnonzero(x)[-1]] *= 1.01
    moved = np.roll(x.reshape(-1), 1).reshape(x.shape)
    found = computed(case, gradient, x, isa)
    assert distance(found, expected(case, gradient, other)) > 1e-6
    assert distance(found, expected(case, gradient, moved)) > 1e-2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gradient": (2, 20, 9, 10)}, "side 3 of dy is 10, and of an output it would be 11"),
        ({"gradient": (2, 20, 8, 11)}, "side 2 of dy is 8, and of an output it would be 9"),
        ({"gradient": (3, 20, 9, 11)}, "dy is of 3 images and x of 2"),
        ({"gradient": (2, 19, 9, 11)}, "dy has 19 channels, not 20"),
        ({"gradient": (2, 20, 99)}, "dy has 3 sides"),
        ({"shape": (2, 3, 99)}, "and x 3"),
        ({"shape": (2, 3, -9, 11)}, "is no shape"),
        ({"values": 200}, "of 594 elements"),
        ({"values": 700}, "of 594 elements"),
        ({"places": 40}, "40 bytes"),
        ({"places": 800}, "800 bytes"),
        ({"strides": (2, 1)}, "side 2 of dy is 9, and of an output it would be 5"),
        ({"strides": (0, 1)}, "at least 1"),
        ({"pads": (1, 1, -1, 1)}, "at least 0"),
        ({"kernel_shape": (3,)}, "kernel_shape"),
        ({"out_channels": (5, 4)}, "no range"),
        ({"out_channels": (0, 21)}, "dy has 20 channels, not 21"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, tuple[int, ...] | int], reason: str) -> None:
    case = Case(density=0.5)
    gradient, x = case.gradient(), case.activation()
    values, places = stored(x)
    if "gradient" in changes:
        gradient = np.zeros(changes["gradient"], np.float32)
    if "values" in changes:
        values = np.resize(values, changes["values"])
    if "places" in changes:
        places = np.resize(places, changes["places"])
    shape = np.array(changes.get("shape", x.shape))
    attributes = {name: changes.get(name, value) for name, value in case.attributes.items()}
    with pytest.raises(Exception, match=f"ConvWeightGradient.*{reason}"):
        run("ConvWeightGradient", [gradient, values, places, shape], attributes)
