"""The measure of every peer: medians of time and the maximum of memory over some steps, one before them uncounted."""

import json
import statistics
import time
from collections.abc import Callable

from toolchain.driver.memory import measure_peak


def report(step: Callable[[], object], steps: int, buffers: int = 0) -> None:
    """Prints one JSON object. buffers: bytes that a step needs and that stay allocated between steps."""
    step()
    wall, cpu, peaks = [], [], []
    for _ in range(steps):
        start, busy = time.perf_counter(), time.process_time()
        _, peak = measure_peak(step)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
        peaks.append((peak or 0) + buffers)
    figures = {"step_seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu)}
    print(json.dumps({**figures, "peak_step_bytes": max(peaks)}))
