"""Which images are shown when, and where adaptation starts anew."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.driver.images import normalise
from toolchain.driver.manifest import Preprocessing
from toolchain.evaluation.data.domain import Domain, Numbers

ORDERS = ("continual", "reset", "gradual", "mixed")
SEVEREST = 5


@dataclass(frozen=True)
class Visit:
    """A domain that is shown, in one of the rounds, counted from 1."""

    round: int
    domain: Domain


@dataclass(frozen=True)
class Batch:
    """visits [n]: of which visit each image is, by its number in the plan. images [n]: its number in the domain."""

    visits: Numbers
    images: Numbers


@dataclass(frozen=True)
class Plan:
    """streams: each starts from the shipped weights and goes on to its end."""

    visits: Sequence[Visit]
    streams: Sequence[Sequence[Batch]]

    @property
    def batches(self) -> int:
        return sum(map(len, self.streams))

    def labels(self, batch: Batch) -> Numbers:
        return np.array(
            [self.visits[visit].domain.labels[image] for visit, image in zip(batch.visits, batch.images, strict=True)]
        )

    def pixels(self, batch: Batch, how: Preprocessing) -> np.ndarray:
        """float32 [n, 3, S, S], preprocessed."""
        parts = [batch.visits == visit for visit in np.unique(batch.visits)]
        found: np.ndarray | None = None
        for part in parts:
            read = self.visits[batch.visits[part][0]].domain.read(batch.images[part])
            found = np.empty((len(part), *read.shape[1:]), np.uint8) if found is None else found
            found[part] = read
        assert found is not None
        return normalise(found, how)


def plan(
    order: str,
    domain: Callable[[str, int], Domain],
    corruptions: Sequence[str],
    severity: int,
    rounds: int,
    batch: int,
    seed: int,
) -> Plan:
    """order: one of ORDERS.

    continual: one corruption after the other, without a reset, in each round. reset: the same, from the shipped weights
    for each. gradual: each corruption from severity 1 up to `severity` and down again, without a reset. mixed: the
    images of all corruptions in an order chosen by `seed`, without a reset. Batches of `batch` images; the last of a
    visit may be smaller.
    """
    severities = _ramp(severity) if order == "gradual" else [severity]
    known = {key: domain(*key) for key in itertools.product(corruptions, dict.fromkeys(severities))}
    visits = [
        Visit(number, known[corruption, one])
        for number in range(1, rounds + 1)
        for corruption in corruptions
        for one in severities
    ]
    shown = [list(_in_turn(index, len(visit.domain.labels), batch)) for index, visit in enumerate(visits)]
    if order == "reset":
        return Plan(visits, shown)
    if order == "mixed":
        return Plan(visits, [list(_mixed(visits, rounds, batch, seed))])
    return Plan(visits, [list(itertools.chain.from_iterable(shown))])


def _ramp(severity: int) -> list[int]:
    """1, 2, ... severity ... 2, 1."""
    up = list(range(1, severity + 1))
    return up + up[-2::-1]


def _in_turn(visit: int, count: int, size: int) -> Iterator[Batch]:
    for start in range(0, count, size):
        images = np.arange(start, min(start + size, count))
        yield Batch(np.full(len(images), visit), images)


def _mixed(visits: Sequence[Visit], rounds: int, size: int, seed: int) -> Iterator[Batch]:
    random = np.random.default_rng(seed)
    for number in range(1, rounds + 1):
        of_round = [(index, len(visit.domain.labels)) for index, visit in enumerate(visits) if visit.round == number]
        pairs = np.concatenate([np.stack([np.full(n, index), np.arange(n)], 1) for index, n in of_round])
        random.shuffle(pairs)
        for start in range(0, len(pairs), size):
            yield Batch(*pairs[start : start + size].T)
