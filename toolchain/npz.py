"""Arrays in files that numpy.savez wrote."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

UNREADABLE = (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for a file of something else, and for a damaged one."""


def read_arrays(path: Path, choices: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, ...] | None:
    """The arrays of the first of these choices of names that the file has; None: of none. Raises UNREADABLE."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        for names in choices:
            if set(names) <= set(file.files):
                return tuple(file[name] for name in names)
    return None
