"""Of many sums of the same terms, those that can be the highest."""

from collections.abc import Hashable, Sequence

import numpy as np

from graphs.footprints import CROWD

TOLERANCE = 0.005
"""By how much of its height a sum may be lower than one that is left out for it."""


def highest(rows: np.ndarray, conditions: Sequence[Hashable | None], weights: np.ndarray) -> list[int]:
    """The numbers of the rows that no other is above, in order.

    rows: int64 [R, 3 + T]. For N from 1 and each x from 0 to its weight times N, the sum of a row is a + c N + Σ d x;
    there a goes from the first number, for N = 1, to the second, from N = CROWD on.
    conditions: a row with one can be above those with the same alone.
    """
    heights = rows @ np.concatenate([[0, CROWD, CROWD], weights])
    order = sorted(_crests(rows, conditions), key=lambda index: -float(heights[index]))
    chosen: list[int] = []
    for index in order:
        others = [other for other in chosen if conditions[other] in (None, conditions[index])]
        if not others or not _is_below(rows[index], rows[others], weights):
            chosen.append(index)
    return sorted(chosen)


def _crests(rows: np.ndarray, conditions: Sequence[Hashable | None]) -> list[int]:
    """The rows that are not below the one before or behind them in each of their terms."""
    free = np.array([condition is None for condition in conditions])
    below = np.zeros(len(rows), bool)
    below[:-1] |= (rows[:-1] <= rows[1:]).all(axis=1) & free[1:]
    below[1:] |= (rows[1:] <= rows[:-1]).all(axis=1) & free[:-1] & ~below[:-1]
    return [int(index) for index in np.nonzero(~below)[0]]


def _is_below(row: np.ndarray, others: np.ndarray, weights: np.ndarray) -> bool:
    """Whether one of the others is as high whatever N and x are, but for TOLERANCE of what it is without x."""
    excess = row - others.astype(float)
    excess[:, :3] -= TOLERANCE * others[:, :3]
    each = excess[:, 2] + np.maximum(excess[:, 3:], 0) @ weights
    return bool(((each <= 0) & (excess[:, 0] + each <= 0) & (excess[:, 1] + CROWD * each <= 0)).any())
