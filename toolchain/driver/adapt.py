"""`adapt`: predict batches of images and adapt the weights to them."""

import time
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from toolchain.driver.adaptation import Adapter, BatchResult, SkippedBatch, settings_from, summary
from toolchain.driver.bundle import Bundle
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.image_stream import STANDARD_INPUT, stream_batches
from toolchain.driver.images import batches, open_images
from toolchain.driver.memory import measure_peak
from toolchain.driver.output import emit, progress, warn
from toolchain.driver.saver import Saver
from toolchain.driver.state import open_state
from toolchain.driver.step import Step
from toolchain.errors import UsageError


def run(path: Path, options: Any) -> int:
    """Print one result a batch, after what it taught was saved."""
    bundle = Bundle(path)
    settings = settings_from(options, bundle.manifest)
    images = _open_batches(bundle, options)
    step = Step(bundle, options.threads, options.operators)
    saver = Saver(step, open_state(bundle, options.state), None if options.no_save else options.save_every)
    seen = saver.resume()
    adapter = Adapter(bundle.manifest, step, settings, seen)
    for index, batch in enumerate(images, seen + 1):
        progress(f"batch {index}")
        _adapt(adapter, saver, index, batch, options)
    saver.finish()
    return 0


def _open_batches(bundle: Bundle, options: Any) -> Iterator[np.ndarray]:
    if str(options.images) != STANDARD_INPUT:
        images = open_images(options.images, bundle.manifest.model)
        return batches(images, options.batch or bundle.manifest.batch)
    if options.batch is not None:
        raise UsageError(f"--images {STANDARD_INPUT} takes batches as they come: leave --batch out")
    return stream_batches(bundle.manifest.model)


def _adapt(adapter: Adapter, saver: Saver, index: int, batch: np.ndarray, options: Any) -> None:
    try:
        result, measured = _measured(adapter, batch) if options.measure else (adapter.adapt(batch), {})
    except SkippedBatch as skipped:
        _report_skipped(skipped, index, options.json)
        if skipped.state_is_lost:
            saver.restore()
        return
    saver.learnt(index)
    progress("")
    emit({"step": index, **summary(result), **measured}, _line(index, result), options.json)


def _measured(adapter: Adapter, batch: np.ndarray) -> Tuple[BatchResult, Dict[str, Any]]:
    started = time.process_time()
    result, peak = measure_peak(lambda: adapter.adapt(batch))
    return result, {"peak_step_bytes": peak, "cpu_seconds": time.process_time() - started}


def _report_skipped(skipped: SkippedBatch, index: int, as_json: bool) -> None:
    progress("")
    warn(f"batch {index} is skipped: {skipped}")
    emit({"step": index, "skipped": str(skipped)}, f"batch {index}  skipped: {skipped}", as_json)


def _line(index: int, result: BatchResult) -> str:
    kept, dense = format_bytes(result.kept_bytes), format_bytes(result.dense_bytes)
    facts = f"loss {result.loss:.4f}  kept {kept} of {dense}  {result.seconds:.2f} s"
    return f"batch {index}  {facts}  {result.predictions}"
