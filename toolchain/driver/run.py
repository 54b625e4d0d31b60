"""`run`: predict every frame, adapt to batches in the background, and let the predictions follow by refits."""

import signal
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

import numpy as np

from toolchain.driver.adaptation import Adapter, settings_from
from toolchain.driver.bundle import Bundle
from toolchain.driver.image_stream import STANDARD_INPUT, stream_batches
from toolchain.driver.images import batches, open_images
from toolchain.driver.inference import InferenceModel
from toolchain.driver.latency import in_words, percentiles
from toolchain.driver.learner import Learner
from toolchain.driver.output import emit
from toolchain.driver.predictor import Predictor, choice_from, open_predictor
from toolchain.driver.saver import Saver
from toolchain.driver.state import open_state
from toolchain.driver.step import Step
from toolchain.errors import UsageError

REMEMBERED = 100_000
"""Frames, the last ones, whose latency the percentiles are of."""


def run(path: Path, options: Any) -> int:
    """Print one result a frame, a step and a refit, and a summary. SIGUSR1 asks for a refit."""
    bundle = Bundle(path)
    settings = settings_from(options, bundle.manifest)
    source, live = _open_frames(bundle, options)
    step, model = Step(bundle, options.threads, options.operators), InferenceModel(bundle)
    saver = Saver(step, open_state(bundle, options.state), None if options.no_save else options.save_every)
    seen = saver.resume()
    learner = Learner(Adapter(bundle.manifest, step, settings, seen), saver, seen, options.every, options.json)
    signal.signal(signal.SIGUSR1, lambda *_: learner.request_refit())  # also while an engine is built
    predictor = open_predictor(model, step.tensors, choice_from(options, bundle))
    frames = _Frames(predictor, learner, options.batch or bundle.manifest.batch, options.json)
    with _learning(learner, lambda: predictor.refit(model.weights(step.tensors))):
        frames.watch(source, options.fps, live)
    emit(*_summary(frames, learner, predictor.engine), options.json)
    return 0


def _open_frames(bundle: Bundle, options: Any) -> Tuple[Iterator[np.ndarray], bool]:
    """Frames float32 [1, C, H, W], and whether they come as from a camera, which waits for nobody."""
    facts = bundle.manifest.model
    if str(options.images) != STANDARD_INPUT:
        return batches(open_images(options.images, facts), 1), options.fps is not None
    if options.fps is not None:
        raise UsageError(f"--images {STANDARD_INPUT} takes frames as they come: leave --fps out")
    return (batch[i : i + 1] for batch in stream_batches(facts) for i in range(len(batch))), True


class _Frames:
    """What becomes of each frame: a prediction at once, and a place in a batch for the learner."""

    def __init__(self, predictor: Predictor, learner: Learner, batch: int, as_json: bool) -> None:
        self.seconds: Deque[float] = deque(maxlen=REMEMBERED)
        self.arrived = self.predicted = self.unlearnt = 0
        self._predictor = predictor
        self._learner = learner
        self._batch = batch
        self._json = as_json
        self._gathered: List[np.ndarray] = []

    def watch(self, source: Iterator[np.ndarray], rate: Optional[float], live: bool) -> None:
        """rate: frames a second; None: as they come. live: batches that the learner has no time for are not learnt
        from; else frames wait for the learner, so that it sees all of them."""
        started = time.perf_counter()
        for index, frame in enumerate(source):
            self.arrived += 1
            arrived = time.perf_counter() if rate is None else _wait_until(started + index / rate)
            self._predict(index, frame, arrived)
            self._gather(frame, live)
            self._learner.check()
        self._hand_over(live=False)

    def _predict(self, index: int, frame: np.ndarray, arrived: float) -> None:
        label = int(self._predictor.predict(frame)[0].argmax())
        self.seconds.append(time.perf_counter() - arrived)
        self.predicted += 1
        result = {"event": "frame", "frame": index, "prediction": label, "seconds": self.seconds[-1]}
        emit(result, f"frame {index}  {label}", self._json)

    def _gather(self, frame: np.ndarray, live: bool) -> None:
        self._gathered.append(frame)
        if len(self._gathered) == self._batch:
            self._hand_over(live)

    def _hand_over(self, live: bool) -> None:
        if not self._gathered:
            return
        batch, self._gathered = np.concatenate(self._gathered), []
        if live:
            passed_over = self._learner.mailbox.replace(batch)
            self.unlearnt += 0 if passed_over is None else len(passed_over)
        else:
            self._learner.mailbox.put(batch)


@contextmanager
def _learning(learner: Learner, hand_on: Callable[[], None]) -> Iterator[None]:
    """The learner runs, and ends well, whatever happens to the frames."""
    learner.start(hand_on)
    try:
        yield
    finally:
        learner.finish()
    learner.check()


def _wait_until(moment: float) -> float:
    """The moment, once it is there; it may be past."""
    time.sleep(max(0.0, moment - time.perf_counter()))
    return moment


def _summary(frames: _Frames, learner: Learner, engine: str) -> Tuple[Dict[str, Any], str]:
    latency = percentiles(frames.seconds)
    result = {
        "event": "summary",
        "frames": frames.arrived,
        "dropped": frames.arrived - frames.predicted,
        "unlearnt": frames.unlearnt,
        "steps": learner.steps,
        "skipped": learner.skipped,
        "refits": learner.refits,
        "latency_ms": latency,
        "engine": engine,
    }
    counts = f"{frames.arrived} frames, {result['dropped']} dropped; {learner.steps} steps, {learner.refits} refits"
    return result, f"{engine}: {counts}\nlatency  {in_words(latency)}"
