"""SURGEON's ratios against numbers computed by hand."""

import numpy as np
import pytest

from toolchain.driver.controller import surgeon_ratios, uniform_ratios


def ratios(grad_rms: "list[float]", elements: "list[int]") -> "list[float]":
    found = surgeon_ratios(np.array(grad_rms, np.float32), np.array(elements, np.int64))
    assert found.dtype == np.float32
    return [float(ratio) for ratio in found]


def test_three_layers_by_hand() -> None:
    # m = 1/2, 1/4, 1/4, so M = ln 2 · (1, 2, 2); G·M = ln 2 · (2, 1, 4); p = 1 - (2, 1, 4) / 4.
    assert ratios([2.0, 0.5, 2.0], [200, 100, 100]) == pytest.approx([0.5, 0.75, 0.0], abs=1e-7)


def test_layer_without_gradient_keeps_nothing() -> None:
    assert ratios([1.0, 0.0], [10, 10]) == [0.0, 1.0]


def test_no_gradient_anywhere_prunes_everything() -> None:
    assert ratios([0.0, 0.0], [10, 10]) == [1.0, 1.0]


def test_single_layer_is_not_pruned() -> None:
    assert ratios([3.0], [10]) == [0.0]


def test_uniform_ratios_are_float32() -> None:
    assert uniform_ratios(3, 0.9).tolist() == [np.float32(0.9)] * 3
