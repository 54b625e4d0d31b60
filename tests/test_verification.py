"""Checks: what counts as the worst of several."""

import math

from toolchain.verification.check import Check
from toolchain.verification.gradients import _severity


def test_nothing_is_worse_than_nan() -> None:
    good, bad = Check("gradients", 0.01, 0.03), Check("gradients", math.nan, 0.03)
    assert not bad.passed
    assert max((good, bad), key=_severity) is bad
    assert max((bad, good), key=_severity) is bad


def test_the_nearest_to_its_limit_is_shown() -> None:
    near, far = Check("gradients", 0.02, 0.03), Check("gradients", 0.03, 0.3)
    assert max((near, far), key=_severity) is near
