"""The step against numpy: updated in place, left alone by a probe, restored."""

from pathlib import Path

import numpy as np
import pytest

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import random_images
from toolchain.driver.bundle import Bundle
from toolchain.driver.session_onnxruntime import share
from toolchain.driver.step import Step

RATIOS = np.array([0.5, 0.25], np.float32)
RATE = 0.05


@pytest.fixture
def step(shipped: Path) -> Step:
    return Step(Bundle(shipped), threads=1)


def distance(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(array - expected[name]).max()) for name, array in found.items())


def test_three_steps_in_place_agree_with_numpy(step: Step) -> None:
    state, arrays = tiny_numpy.initial_state(), step.state
    for seed in range(3):
        images = random_images(4, seed)
        found, expected = step.run(images, RATIOS, RATE), tiny_numpy.step(state, images, RATIOS, RATE)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
        np.testing.assert_allclose(found.grad_rms, expected.grad_rms, rtol=1e-5)
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        assert found.kept_elements.tolist() == expected.kept_elements.tolist()
        state = expected.state
    assert distance(step.state, state) < 1e-6
    assert all(array is step.state[name] for name, array in arrays.items())


def test_comparison_notices_another_ratio_and_another_rate(step: Step) -> None:
    images = random_images(4)
    step.run(images, RATIOS, RATE)
    assert distance(step.state, tiny_numpy.step(tiny_numpy.initial_state(), images, RATIOS, 0.04).state) > 1e-4
    assert distance(step.state, tiny_numpy.step(tiny_numpy.initial_state(), images, RATIOS + 0.25, RATE).state) > 1e-4


def test_probe_leaves_every_bit_of_the_state(step: Step) -> None:
    step.run(random_images(4), RATIOS, RATE)
    before = {name: array.tobytes() for name, array in step.state.items()}
    probed = step.probe(random_images(2, seed=1), RATIOS)
    assert {name: array.tobytes() for name, array in step.state.items()} == before
    assert probed.grad_rms.tolist() == step.run(random_images(2, seed=1), RATIOS, RATE).grad_rms.tolist()


def test_pruned_whole_and_not_at_all(step: Step) -> None:
    assert step.run(random_images(3), np.ones(2, np.float32), RATE).grad_rms.tolist() == [0.0, 0.0]
    assert step.run(random_images(3), np.zeros(2, np.float32), RATE).kept_elements.tolist() == [144, 48]


def test_restore_sets_what_was_saved_or_shipped(step: Step) -> None:
    step.run(random_images(4), RATIOS, RATE)
    saved = {name: array.copy() for name, array in step.state.items()}
    step.run(random_images(4, seed=1), RATIOS, RATE)
    step.restore(saved)
    assert distance(step.state, saved) == 0
    step.restore(None)
    assert distance(step.state, tiny_numpy.initial_state()) == 0


def test_shared_value_is_the_array_itself() -> None:
    array = np.arange(1000, dtype=np.float32)
    value = share(array)
    array[0] = 5
    assert value.numpy()[0] == 5
