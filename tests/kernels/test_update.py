"""AdamUpdate and MomentumUpdate, on every instruction set that this machine has, against numpy."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.harness import instruction_sets, run

every_isa = pytest.mark.parametrize("isa", instruction_sets())

ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
MOMENTUM = {"momentum": 0.9}
RATE, DEVIATION = np.float32(0.01), np.float32(0.3)


@dataclass(frozen=True)
class Part:
    """size: elements of the parameter, of which `count` from `offset` on have a gradient."""

    size: int
    offset: int
    count: int

    @property
    def updated(self) -> slice:
        return slice(self.offset, self.offset + self.count)


def _part_of(draw: st.DrawFn) -> Part:
    size = draw(st.one_of(st.integers(1, 100), st.integers(30000, 40000)))
    offset = draw(st.integers(0, size))
    return Part(size, offset, draw(st.integers(0, size - offset)))


PARTS = st.composite(_part_of)()


Arrays = list[np.ndarray]


def _state(part: Part, moments: int, seed: int = 0) -> Arrays:
    """The parameter, its moments (the last is positive) and the gradient."""
    rng = np.random.default_rng(seed)
    state = [rng.standard_normal(part.size).astype(np.float32) for _ in range(1 + moments)]
    state[-1] = np.abs(state[-1])
    return [*state, rng.standard_normal(part.count).astype(np.float32)]


def _adam(state: Arrays, part: Part, dtype: type) -> Arrays:
    cast: Arrays = [array.astype(dtype) for array in state]
    parameter, first, second, gradient = cast
    beta1, beta2, epsilon = (dtype(ADAM[name]) for name in ("beta1", "beta2", "epsilon"))
    m = beta1 * first[part.updated] + dtype(1 - 0.9) * gradient
    v = beta2 * second[part.updated] + dtype(1 - 0.999) * (gradient * gradient)
    first[part.updated], second[part.updated] = m, v
    parameter[part.updated] -= dtype(RATE) * (m / (np.sqrt(v) / dtype(DEVIATION) + epsilon))
    return [parameter, first, second]


def _momentum(state: Arrays, part: Part, dtype: type, nesterov: bool = False) -> Arrays:
    cast: Arrays = [array.astype(dtype) for array in state]
    parameter, moment, gradient = cast
    moment[part.updated] = dtype(0.9) * moment[part.updated] + gradient
    change = gradient + dtype(0.9) * moment[part.updated] if nesterov else moment[part.updated]
    parameter[part.updated] -= dtype(RATE) * change
    return [parameter, moment]


def _run_adam(state: Arrays, offset: int, active: float, isa: str, **how: bool | int) -> Arrays:
    scalars = [np.array([value], np.float32) for value in (RATE, DEVIATION, active)]
    attributes = {**ADAM, "offset": offset}
    return run("AdamUpdate", [*state, *scalars], attributes, [np.float32] * 3, isa, **how)  # type: ignore[arg-type]


def _run_momentum(
    state: Arrays, offset: int, active: float, isa: str, nesterov: bool = False, **how: bool | int
) -> Arrays:
    scalars = [np.array([value], np.float32) for value in (RATE, active)]
    attributes = {**MOMENTUM, "nesterov": int(nesterov), "offset": offset}
    return run("MomentumUpdate", [*state, *scalars], attributes, [np.float32] * 2, isa, **how)  # type: ignore[arg-type]


@every_isa
@given(part=PARTS, in_place=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_adam(isa: str, part: Part, in_place: bool, seed: int) -> None:
    state = _state(part, 2, seed)
    found = _run_adam(state, part.offset, 1.0, isa, in_place=in_place)
    for one, exact, rounded in zip(found, _adam(state, part, np.float64), _adam(state, part, np.float32), strict=True):
        np.testing.assert_allclose(one, exact, rtol=3e-7, atol=3e-7)
        # As float32 has it, but for the rounding that a fused multiplication and addition saves.
        np.testing.assert_allclose(one, rounded, rtol=3e-7, atol=1e-7)


@every_isa
@given(part=PARTS, nesterov=st.booleans(), in_place=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_momentum(isa: str, part: Part, nesterov: bool, in_place: bool, seed: int) -> None:
    state = _state(part, 1, seed)
    found = _run_momentum(state, part.offset, 1.0, isa, nesterov, in_place=in_place)
    for one, exact in zip(found, _momentum(state, part, np.float64, nesterov), strict=True):
        np.testing.assert_allclose(one, exact, rtol=3e-7, atol=3e-7)


@every_isa
@pytest.mark.parametrize("in_place", [False, True])
def test_only_what_has_a_gradient_changes(isa: str, in_place: bool) -> None:
    part = Part(100, 30, 41)
    rest = np.r_[0:30, 71:100]
    for states, run_one in ((3, _run_adam), (2, _run_momentum)):
        state = _state(part, states - 1)
        for before, after in zip(state, run_one(state, part.offset, 1.0, isa, in_place=in_place), strict=False):
            np.testing.assert_array_equal(after[rest], before[rest])
            assert (after[part.updated] != before[part.updated]).all()
        idle = run_one(state, part.offset, 0.0, isa, in_place=in_place)
        for before, after in zip(state, idle, strict=False):
            np.testing.assert_array_equal(after, before)


@every_isa
def test_pieces_give_what_the_whole_gives(isa: str) -> None:
    """Also on several threads."""
    state = _state(Part(70000, 0, 70000), 2)
    whole = _run_adam(state, 0, 1.0, isa, threads=4)
    first = _run_adam([*state[:3], state[3][:12345]], 0, 1.0, isa)
    second = _run_adam([*first, state[3][12345:]], 12345, 1.0, isa)
    for one, other in zip(whole, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)


@every_isa
def test_a_first_step_of_adam_is_the_rate(isa: str) -> None:
    """Moments of zero, corrected for it: the step is rate * sign(g), to the last digits of what float32 can tell."""
    gradient = np.array([3.0, -0.02, 100.0], np.float32)
    zeros = np.zeros(3, np.float32)
    deviation = np.array([np.sqrt(1 - 0.999)], np.float32)
    rate = np.array([0.5 / (1 - 0.9)], np.float32)
    inputs = [zeros, zeros, zeros, gradient, rate, deviation, np.ones(1, np.float32)]
    parameter, _, _ = run("AdamUpdate", inputs, {**ADAM, "offset": 0}, [np.float32] * 3, isa)
    np.testing.assert_allclose(parameter, [-0.5, 0.5, -0.5], rtol=1e-6)


@every_isa
def test_a_gradient_that_is_no_number_spreads(isa: str) -> None:
    state = [np.ones(3, np.float32)] * 3
    gradient = np.array([np.nan, np.inf, 1.0], np.float32)
    parameter, first, second = _run_adam([*state, gradient], 0, 1.0, isa)
    np.testing.assert_array_equal(np.isfinite(parameter), [False, False, True])
    np.testing.assert_array_equal(first[:2], [np.nan, np.inf])
    np.testing.assert_array_equal(second[:2], [np.nan, np.inf])


def test_shapes_of_any_rank() -> None:
    part = Part(24, 8, 8)
    state = _state(part, 2)
    shaped = [*(array.reshape(3, 2, 4) for array in state[:3]), state[3].reshape(1, 2, 4)]
    for flat, other in zip(
        _run_adam(state, 8, 1.0, instruction_sets()[-1]), _run_adam(shaped, 8, 1.0, instruction_sets()[-1]), strict=True
    ):
        assert other.shape == (3, 2, 4)
        np.testing.assert_array_equal(flat, other.reshape(-1))


@pytest.mark.parametrize("offset", [-1, 8, 11, 2**62])
def test_a_gradient_past_the_end_is_refused(offset: int) -> None:
    isa = instruction_sets()[-1]
    part = Part(10, 0, 3)
    with pytest.raises(Exception, match="AdamUpdate: "):
        _run_adam(_state(part, 2), offset, 1.0, isa)
    with pytest.raises(Exception, match="MomentumUpdate: "):
        _run_momentum(_state(part, 1), offset, 1.0, isa)


def test_shapes_that_do_not_fit_are_refused() -> None:
    parameter, first, second, gradient = _state(Part(10, 0, 10), 2)
    one = np.ones(1, np.float32)
    right = [parameter, first, second, gradient, one, one, one]
    attributes = {**ADAM, "offset": 0}
    run("AdamUpdate", right, attributes, [np.float32] * 3)
    for index in (1, 2, 4, 5, 6):
        wrong = [*right]
        wrong[index] = np.ones((2, 5), np.float32)
        with pytest.raises(Exception, match="AdamUpdate: "):
            run("AdamUpdate", wrong, attributes, [np.float32] * 3)
