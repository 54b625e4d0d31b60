"""How long predictions took."""

from typing import Dict, Iterable

import numpy as np

PERCENTILES = (50, 90, 99)


def percentiles(seconds: Iterable[float]) -> Dict[str, float]:
    """Milliseconds within which so many percent of the predictions came: p50, p90, p99, and max for all of them."""
    milliseconds = 1000 * np.array([*seconds] or [0.0])
    found = np.percentile(milliseconds, PERCENTILES)
    return {**{f"p{p}": float(value) for p, value in zip(PERCENTILES, found)}, "max": float(milliseconds.max())}


def in_words(latency: Dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.1f} ms" for name, value in latency.items())
