"""Adapted state on disk: numbered files, each written whole or not at all, the last two kept."""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.output import warn
from toolchain.driver.persistent import state_of
from toolchain.driver.tensors import TensorFile, read_metadata, read_tensors, write_tensors
from toolchain.errors import StateError

Kind = Tuple[str, Tuple[Union[int, str], ...]]
_NAME = re.compile(r"state-(\d+)\.safetensors")


@dataclass(frozen=True)
class SavedState:
    """step: batches seen when it was saved. tensors: by input name of the step."""

    step: int
    tensors: Dict[str, np.ndarray]


class StateFolder:
    """The saved states of one bundle. Files of other bundles are left alone."""

    def __init__(self, folder: Path, identity: str, expected: Mapping[str, Kind]) -> None:
        """identity: what tells bundles apart. expected: names, types and shapes of the tensors of a state."""
        self.folder = folder
        self._identity = identity
        self._expected = dict(expected)
        self._good: Optional[Path] = None
        self._lock: Optional[int] = None

    def load(self) -> Optional[SavedState]:
        """The newest whole state of this bundle, or None. Says on stderr which files it refuses, and why."""
        refused = False
        for path in self._newest_first():
            try:
                found = self._read(path)
            except (OSError, ValueError) as error:
                warn(f"{path} is refused: {error}")
                refused = True
                continue
            self._good = path
            return SavedState(int(found.metadata["step"]), found.tensors)
        if refused:
            warn(f"no usable state in {self.folder}: the shipped parameters are used; the refused files are kept")
        return None

    def save(self, step: int, tensors: Mapping[str, np.ndarray]) -> None:
        """Write the next generation, then delete all of this bundle but it and the last good one. Raises StateError."""
        self.claim()
        try:
            path = self.folder / f"state-{self._next_number()}.safetensors"
            write_tensors(path, tensors, {"bundle": self._identity, "step": str(step)})
            self._delete_all_but(path, self._good)
        except OSError as error:
            raise self._not_writable(error) from error
        self._good = path

    def claim(self) -> None:
        """Make the folder and lock it until the process ends: no two adapt one state. Raises StateError."""
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder / "lock")
        except BlockingIOError as error:
            raise StateError(
                f"another process adapts with {self.folder}: wait for it, or choose another folder with --state"
            ) from error
        except OSError as error:
            raise self._not_writable(error) from error

    def release(self) -> None:
        """Let others adapt this state."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _not_writable(self, error: OSError) -> StateError:
        return StateError(
            f"the adapted state cannot be written to {self.folder} ({error.strerror}); what was saved before is whole: "
            "make room, or choose another folder with --state"
        )

    def _read(self, path: Path) -> TensorFile:
        found = read_tensors(path, sealed=True)
        if found.metadata.get("bundle") != self._identity:
            raise ValueError("it was saved by another bundle")
        if {name: kind_of(array) for name, array in found.tensors.items()} != self._expected:
            raise ValueError("its tensors are not those of this bundle")
        return found

    def _newest_first(self) -> List[Path]:
        return sorted(self._generations(), key=_number, reverse=True)

    def _generations(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _next_number(self) -> int:
        return max((_number(path) for path in self._generations()), default=0) + 1

    def _delete_all_but(self, *kept: Optional[Path]) -> None:
        for path in self._generations():
            if path not in kept and self._is_own(path):
                path.unlink()

    def _is_own(self, path: Path) -> bool:
        try:
            return read_metadata(path).get("bundle") == self._identity
        except ValueError:
            return False


def open_state(bundle: Bundle, folder: Optional[Path]) -> StateFolder:
    """The states of a bundle in `folder`, or in the one beside it."""
    expected = {tensor.name: (tensor.dtype, tensor.shape) for tensor in state_of(bundle.manifest)}
    return StateFolder(folder or bundle.default_state, bundle.identity, expected)


def kind_of(array: np.ndarray) -> Kind:
    """Type and shape of an array."""
    return str(array.dtype), array.shape


def _lock(path: Path) -> int:
    """Descriptor that holds the lock for as long as it is open. Raises BlockingIOError if another one does."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else 0
