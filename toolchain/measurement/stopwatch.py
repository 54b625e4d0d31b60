"""The measure of every peer: medians of time and the maximum of memory over some steps, one before them uncounted."""

import json
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from toolchain.driver.memory import measure_peak

Step = Callable[[], object]


class Figures(NamedTuple):
    wall: float
    cpu: float
    peak: int | None


def report(step: Step, steps: int, buffers: int = 0, hoards: bool = False) -> None:
    """Prints one JSON object.

    buffers: bytes that a step needs and that stay allocated between steps. hoards: what the first step took is not
    given back (an arena), so that its peak is the one that counts.
    """
    first = _measure(step)
    measured = [_measure(step) for _ in range(steps)]
    peaks = [figures.peak for figures in ([first] if hoards else measured)]
    found = {
        "step_seconds": statistics.median(figures.wall for figures in measured),
        "cpu_seconds": statistics.median(figures.cpu for figures in measured),
        "peak_step_bytes": buffers + max(peak for peak in peaks if peak is not None) if None not in peaks else None,
    }
    print(json.dumps(found))


def _measure(step: Step) -> Figures:
    start, busy = time.perf_counter(), time.process_time()
    _, peak = measure_peak(step)
    return Figures(time.perf_counter() - start, time.process_time() - busy, peak)
