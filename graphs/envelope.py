"""Of many sums of the same terms, those that can be the highest."""

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np

from graphs.footprints import CROWD

TOLERANCE = 0.005
"""By how much of its height a sum may be lower than one that is left out for it."""


Kind = tuple[bool, Hashable | None]
"""The pass that a row is of, and the condition without which it does not count."""


def highest(rows: np.ndarray, kinds: Sequence[Kind], weights: np.ndarray) -> list[int]:
    """The numbers of the rows that no other of its pass is above, in order.

    rows: int64 [R, 3 + T]. For N from 1 and each x from 0 to its weight times N, the sum of a row is a + c N + Σ d x;
    there a goes from the first number, for N = 1, to the second, from N = CROWD on.
    """
    heights = rows @ np.concatenate([[0, CROWD, CROWD], weights])
    order = sorted(_crests(rows, kinds), key=lambda index: -float(heights[index]))
    chosen: list[int] = []
    for index in order:
        others = [other for other in chosen if _replaces(kinds[other], kinds[index])]
        if not others or not _is_below(rows[index], rows[others], weights):
            chosen.append(index)
    return sorted(chosen)


def _replaces(other: Kind, one: Kind) -> bool:
    """Whether the other counts wherever the one does."""
    return other[0] == one[0] and other[1] in (None, one[1])


def _crests(rows: np.ndarray, kinds: Sequence[Kind]) -> list[int]:
    """The rows that are not below the one before or behind them in each of their terms."""
    below = [False] * len(rows)
    for one, (row, behind) in enumerate(pairwise(rows)):
        if _replaces(kinds[one + 1], kinds[one]) and (row <= behind).all():
            below[one] = True
        elif _replaces(kinds[one], kinds[one + 1]) and (behind <= row).all():
            below[one + 1] = True
    return [index for index, is_below in enumerate(below) if not is_below]


def _is_below(row: np.ndarray, others: np.ndarray, weights: np.ndarray) -> bool:
    """Whether one of the others is as high whatever N and x are, but for TOLERANCE of what it is without x."""
    excess = row - others.astype(float)
    excess[:, :3] -= TOLERANCE * others[:, :3]
    each = excess[:, 2] + np.maximum(excess[:, 3:], 0) @ weights
    return bool(((each <= 0) & (excess[:, 0] + each <= 0) & (excess[:, 1] + CROWD * each <= 0)).any())
