"""One comparison of what was found with what was expected."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    measured: float
    limit: float


def compare(name: str, found: np.ndarray, expected: np.ndarray, limit: float) -> Check:
    """Largest difference, relative to the largest expected magnitude; integers have to be equal."""
    difference = np.abs(found.astype(np.float64).reshape(-1) - expected.astype(np.float64).reshape(-1)).max(initial=0.0)
    scale = np.abs(expected.astype(np.float64)).max(initial=0.0)
    return check(name, relative(float(difference), float(scale)), 0.0 if expected.dtype.kind == "i" else limit)


def check(name: str, measured: float, limit: float) -> Check:
    """NaN never passes, and is reported as the largest number, because JSON has neither NaN nor Inf."""
    finite = min(measured, float(np.finfo(np.float64).max)) if measured == measured else float(np.finfo(np.float64).max)
    return Check(name, measured <= limit, finite, limit)


def relative(difference: float, scale: float) -> float:
    return difference / scale if scale else difference
