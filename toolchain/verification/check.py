"""A measured difference and the most that it may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

EXACT = 0.0
ROUNDING = 1e-5
"""What float32 rounding alone does to logits and losses, relative to the largest (eager float32 against float64)."""

FLIPS = 3e-2
"""What a gradient may differ by when a ReLU or the choice of a kept element flips in float32.

Measured on eager float32 against eager float64, over seeds: median 1e-5 on shallow nets, and up to 2.5e-2 wherever one
element flips, which on random ResNet-50 weights is every batch. Pruning the wrong tensor differs by 6e-2 or more.
"""


@dataclass(frozen=True)
class Check:
    """`measured` may be at most `limit`."""

    name: str
    measured: float
    limit: float
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", bool(self.measured <= self.limit))


Arrays = Mapping[str, np.ndarray]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest expected magnitude."""
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0.0)) / scale


def distance(found: Arrays, expected: Arrays) -> float:
    """How far a set of tensors is from another: ‖difference‖ / ‖expected‖ over all, or in the median tensor if more.

    A tensor's own norm counts for at least a thousandth of the largest root mean square among them: where the true
    gradient is zero, rounding is all there is.
    """
    squares = {name: float(np.square(expected[name], dtype=np.float64).sum()) for name in expected}
    errors = {name: float(np.square(found[name] - expected[name].astype(np.float64)).sum()) for name in expected}
    floor = 1e-6 * max(squares[name] / expected[name].size for name in expected)
    each = [errors[name] / max(squares[name], floor * expected[name].size, 1e-300) for name in expected]
    total = sum(errors.values()) / max(sum(squares.values()), 1e-300)
    return float(np.sqrt(max(total, float(np.median(each)))))
