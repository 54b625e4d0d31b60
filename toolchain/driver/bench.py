"""`bench`: time and peak memory of adaptation steps on random images, from the shipped parameters; saves nothing."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from toolchain.driver.adaptation import Adapter, BatchResult, SkippedBatch, settings_from
from toolchain.driver.bundle import Bundle
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.manifest import ModelFacts
from toolchain.driver.memory import measure_peak
from toolchain.driver.output import emit, progress
from toolchain.driver.step import Step
from toolchain.errors import ToolchainError


@dataclass(frozen=True)
class _Measured:
    result: BatchResult
    cpu_seconds: float
    peak_bytes: Optional[int]


def run(path: Path, options: Any) -> int:
    """Print medians of time and the maximum of memory over the measured steps; one step before them is not counted."""
    bundle = Bundle(path)
    adapter = Adapter(
        bundle.manifest, Step(bundle, options.threads, options.operators), settings_from(options, bundle.manifest)
    )
    batch = options.batch or bundle.manifest.batch
    images = _random_images(bundle.manifest.model, batch, options.seed)
    measured = [_measure(adapter, images, index) for index in range(options.steps + 1)][1:]
    progress("")
    result = _summarise(measured, batch)
    emit(result, _text(result), options.json)
    return 0


def _measure(adapter: Adapter, images: np.ndarray, index: int) -> _Measured:
    progress(f"step {index}")
    started = time.process_time()
    try:
        result, peak = measure_peak(lambda: adapter.adapt(images))
    except SkippedBatch as skipped:
        raise ToolchainError(f"step {index} on random images failed: {skipped}: run selftest") from skipped
    return _Measured(result, time.process_time() - started, peak)


def _random_images(model: ModelFacts, batch: int, seed: int) -> np.ndarray:
    shape = (batch, model.channels, model.image_size, model.image_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _summarise(measured: List[_Measured], batch: int) -> Dict[str, Any]:
    peaks = [step.peak_bytes for step in measured if step.peak_bytes is not None]
    return {
        "step_seconds": statistics.median(step.result.seconds for step in measured),
        "cpu_seconds": statistics.median(step.cpu_seconds for step in measured),
        "peak_step_bytes": max(peaks) if peaks else None,
        "predicted_peak_bytes": max(step.result.predicted_peak_bytes for step in measured),
        "kept_bytes": max(step.result.kept_bytes for step in measured),
        "dense_bytes": measured[0].result.dense_bytes,
        "batch": batch,
    }


def _text(result: Dict[str, Any]) -> str:
    peak = result["peak_step_bytes"]
    return (
        f"batch {result['batch']}: {result['step_seconds']:.3f} s a step "
        f"({result['cpu_seconds']:.3f} s of processor time), "
        f"peak {'not measurable here' if peak is None else format_bytes(peak)}, "
        f"kept {format_bytes(result['kept_bytes'])} of {format_bytes(result['dense_bytes'])}"
    )
