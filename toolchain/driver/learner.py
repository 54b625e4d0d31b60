"""A thread that adapts to batches while others predict, and hands the weights on."""

import threading
import time
from typing import Callable, Optional

import numpy as np

from toolchain.driver.adaptation import Adapter, SkippedBatch, summary
from toolchain.driver.mailbox import Mailbox
from toolchain.driver.output import emit, warn
from toolchain.driver.saver import Saver

PATIENCE_SECONDS = 0.1
"""How long a request for a refit may wait while no batch comes."""


class Learner:
    """Takes batches from its mailbox until that is closed. What fails in the thread is raised by `check`."""

    def __init__(self, adapter: Adapter, saver: Saver, seen: int, every: int, as_json: bool) -> None:
        """seen: how many batches the state has behind it. every: steps between two refits."""
        self.mailbox: Mailbox[np.ndarray] = Mailbox()
        self.steps = self.skipped = self.refits = 0
        self._adapter = adapter
        self._saver = saver
        self._every = every
        self._json = as_json
        self._index = seen
        self._pending = 0
        self._wanted = False
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self, hand_on: Callable[[], None]) -> None:
        """hand_on: refits what predicts with the step's state."""
        self._hand_on = hand_on
        self._thread.start()

    def request_refit(self) -> None:
        """Refit as soon as the step in progress is done. May be called by a signal handler."""
        self._wanted = True

    def finish(self) -> None:
        """Wait until every batch was learnt from, the state is saved and the weights are handed on."""
        self.mailbox.close()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise what the thread failed with."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self.mailbox.is_finished:
                batch = self.mailbox.take(PATIENCE_SECONDS)
                if batch is not None:
                    self._learn(batch)
                self._refit_if_due()
            self._saver.finish()
            self._wanted = True
            self._refit_if_due()
        except BaseException as error:
            self._error = error
            self.mailbox.close()

    def _learn(self, batch: np.ndarray) -> None:
        self._index += 1
        try:
            result = self._adapter.adapt(batch)
        except SkippedBatch as skipped:
            return self._skip(skipped)
        self._saver.learnt(self._index)
        self.steps += 1
        self._pending += 1
        line = f"step {self._index}  loss {result.loss:.4f}  {result.seconds:.2f} s"
        emit({"event": "step", "step": self._index, **summary(result)}, line, self._json)

    def _skip(self, skipped: SkippedBatch) -> None:
        self.skipped += 1
        warn(f"batch {self._index} is skipped: {skipped}")
        if skipped.state_is_lost:
            self._saver.restore()
            self._pending += 1
        line = f"step {self._index}  skipped: {skipped}"
        emit({"event": "step", "step": self._index, "skipped": str(skipped)}, line, self._json)

    def _refit_if_due(self) -> None:
        """Only with something new to hand on."""
        if not self._pending or not (self._pending >= self._every or self._wanted):
            return
        self._wanted = False
        started = time.perf_counter()
        self._hand_on()
        self._pending, self.refits = 0, self.refits + 1
        seconds = time.perf_counter() - started
        line = f"refit {self.refits}  after step {self._index}  {seconds:.2f} s"
        emit({"event": "refit", "refit": self.refits, "step": self._index, "seconds": seconds}, line, self._json)
