"""What Sparsify keeps and how it writes where it was, in numpy."""

import numpy as np

from graphs.tensor_size import kept_count


def largest(x: np.ndarray, count: int) -> np.ndarray:
    """Flags of the `count` elements that are largest in magnitude, ties first in order, NaN above infinity."""
    bits = x.reshape(-1).astype(np.float32).view(np.int32) & 0x7FFFFFFF
    flags = np.zeros(x.size, bool)
    flags[np.argsort(-bits.astype(np.int64), kind="stable")[:count]] = True
    return flags.reshape(x.shape)


def sparsify(x: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and places."""
    flags = largest(x, kept_count(x.size, ratio))
    return x[flags], encode(flags)


def half(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(values, -65504, 65504), np.float16)


def encode(flags: np.ndarray) -> np.ndarray:
    """The places of the flags that are set: the form depends on how many they are."""
    flat = flags.reshape(-1)
    if 16 * np.count_nonzero(flat) >= 3 * flat.size:
        return np.packbits(flat, bitorder="little")
    fours = np.pad(flat, (0, -flat.size % 4)).reshape(-1, 4)
    used = fours.any(axis=1)
    pairs = fours[used].reshape(-1)
    return np.concatenate([np.packbits(used, bitorder="little"), np.packbits(pairs, bitorder="little")])
