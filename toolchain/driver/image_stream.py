"""Batches of images from another program, through a pipe."""

import sys
from typing import BinaryIO, Iterator, Optional

import numpy as np
from numpy.lib import format as npy

from toolchain.driver.manifest import ModelFacts
from toolchain.errors import InputError

STANDARD_INPUT = "-"


def stream_batches(model: ModelFacts, stream: Optional[BinaryIO] = None) -> Iterator[np.ndarray]:
    """Arrays as numpy.save writes them, one behind the other, each a batch: float32 [N, C, H, W], preprocessed.

    stream: standard input if None. It is read up to the batch that is asked for, so that the writer may wait for the
    result of one batch before it sends the next. Raises InputError for anything else than such an array.
    """
    source = sys.stdin.buffer if stream is None else stream
    number = 0
    while True:
        start = source.read(npy.MAGIC_LEN)
        if not start:
            return
        number += 1
        yield _checked(_read_array(_Resumed(start, source), number), model, number)


class _Resumed:
    """A stream whose first bytes are read already; a pipe cannot be rewound."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def read(self, count: int) -> bytes:
        taken, self._start = self._start[:count], self._start[count:]
        return taken + self._rest.read(count - len(taken))


def _read_array(stream: _Resumed, number: int) -> np.ndarray:
    try:
        return npy.read_array(stream, allow_pickle=False)  # type: ignore[arg-type]
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"batch {number} on standard input is no whole .npy array ({error}): write each with numpy.save"
        ) from error


def _checked(array: np.ndarray, model: ModelFacts, number: int) -> np.ndarray:
    expected = (model.channels, model.image_size, model.image_size)
    if array.dtype != np.float32 or array.shape[1:] != expected or not len(array):
        raise InputError(
            f"batch {number} on standard input holds {array.dtype} {list(array.shape)}: "
            f"expected float32 [N, {', '.join(map(str, expected))}], already preprocessed"
        )
    return np.ascontiguousarray(array)
