"""The ratio at which one method keeps as much as another, for curves at equal bytes."""

from pathlib import Path

import pytest

from benchmarks.equal_bytes import ratio_for
from toolchain.driver.bundle import Bundle
from toolchain.driver.controller import uniform_ratios
from toolchain.driver.needs import step_bytes

MIB = 1 << 20


@pytest.mark.parametrize("megabytes", [4, 12])
def test_ratio_keeps_as_much(cifar: Path, megabytes: int) -> None:
    facts = Bundle(cifar).manifest
    step = facts.native or facts.step
    ratio = ratio_for(cifar, 50, megabytes * MIB)
    kept, more = (step_bytes(facts, step, 50, uniform_ratios(len(facts.layers), one)) for one in (ratio, ratio - 1e-3))
    assert kept <= megabytes * MIB < more
