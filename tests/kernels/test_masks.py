"""Masks of one bit an element, on every instruction set that this machine has."""

import numpy as np
import pytest

from tests.kernels.harness import instruction_sets, run


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 1000, 70000])
def test_positive_elements_are_packed(isa: str, count: int) -> None:
    x = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    (bits,) = run("PackPositive", [x], outputs=[np.uint8], isa=isa)
    np.testing.assert_array_equal(bits, np.packbits(x > 0, bitorder="little"))
