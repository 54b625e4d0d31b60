"""When the adapted state is written, and how it is found again."""

from typing import Optional

from toolchain.driver.state import StateFolder
from toolchain.driver.step import Step


class Saver:
    """Keeps the step's state and its folder together. every: batches between two saves; None: never save."""

    def __init__(self, step: Step, folder: StateFolder, every: Optional[int]) -> None:
        self._step = step
        self._folder = folder
        self._every = every
        self._unsaved = 0
        self._index = 0

    def resume(self) -> int:
        """Go on from the last good state; returns the number of batches that it has seen."""
        if self._every is not None:
            self._folder.claim()
        return self.restore()

    def restore(self) -> int:
        """Set the state to what was saved last, or to what was shipped."""
        saved = self._folder.load()
        self._step.restore(saved.tensors if saved else None)
        self._unsaved = 0
        return saved.step if saved else 0

    def learnt(self, index: int) -> None:
        """Another batch has changed the state."""
        self._index, self._unsaved = index, self._unsaved + 1
        if self._every is not None and self._unsaved >= self._every:
            self._save()

    def finish(self) -> None:
        if self._every is not None and self._unsaved:
            self._save()

    def _save(self) -> None:
        self._folder.save(self._index, self._step.state)
        self._unsaved = 0
