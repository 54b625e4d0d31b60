"""The memory that a step needs, in bytes above parameters, optimizer state and input: what it keeps, and its peak."""

import math
from typing import Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from toolchain.driver.manifest import Condition, Manifest, Moment, Saved, StepFacts, Store
from toolchain.driver.memory import RETURNED

SORTING = 0.725
"""ONNX Runtime sorts all places to find the largest k of n elements where k is n to this power or more."""

_PAGE, _HEADER = 4096, 96
_CROWD = 8


class Need(NamedTuple):
    """The peak of a step, and when it is reached; None where that is not known."""

    bytes: int
    moment: Optional[Moment]


def kept_elements(elements: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """k = floor(n · (1 - p)) int64 [L], in float64 from float32 ratios, as the step's graph computes it."""
    keep = 1.0 - ratios.astype(np.float32).astype(np.float64)
    return np.floor(elements.astype(np.float64) * keep).astype(np.int64)


def places_bytes(elements: int, kept: int, compact: bool) -> int:
    """Most bytes that the places of `kept` of `elements` take.

    A bit an element or, compact and where few are kept, a bit for each four and four bits for each of these groups
    that is not empty.
    """
    if not compact or 16 * kept >= 3 * elements:
        return -(-elements // 8)
    groups = -(-elements // 4)
    return -(-groups // 8) + -(-min(kept, groups) // 2)


def values_bytes(step: StepFacts, kept: int) -> int:
    """Bytes of `kept` values as they wait: packed ones have a byte in common."""
    return -(-step.value_bits * kept // 8) + (step.value_bits % 8 != 0)


def kept_bytes(manifest: Manifest, step: StepFacts, batch: int, kept: Sequence[int]) -> int:
    """Bytes that wait for the backward pass, `kept` elements a layer: values, places, and all else that is saved.

    At most: a union may be smaller than the sum of its parts.
    """
    elements = layer_elements(manifest, batch)
    total = sum(_saved_bytes(saved, batch, kept) for saved in step.saved)
    for store in step.stores:
        of_all, stored = int(elements[store.layers[0]]), _most_stored(store, elements, kept)
        total += values_bytes(step, stored) + places_bytes(of_all, stored, step.compact_places)
    return total


def _saved_bytes(saved: Saved, batch: int, kept: Sequence[int]) -> int:
    """Of a tensor, or float32 of what its layer kept."""
    most = saved.bytes + saved.bytes_per_sample * batch
    return most if saved.layer is None else min(most, 4 * kept[saved.layer])


def step_bytes(manifest: Manifest, step: StepFacts, batch: int, ratios: np.ndarray) -> int:
    """Bytes that a step at these ratios [L] keeps at most."""
    elements = layer_elements(manifest, batch)
    kept = kept_elements(elements, ratios)
    for layer in [saved.layer for saved in step.saved if saved.layer is not None]:
        kept[layer] = elements[layer]
    return kept_bytes(manifest, step, batch, kept.tolist())


def predict_peak(manifest: Manifest, step: StepFacts, batch: int, ratios: np.ndarray) -> Need:
    """The highest of the step's moments at these ratios [L]."""
    return highest(needs(manifest, step, batch, ratios))


def highest(found: Iterable[Need]) -> Need:
    return max(found, key=lambda need: need.bytes, default=Need(0, None))


def needs(manifest: Manifest, step: StepFacts, batch: int, ratios: np.ndarray) -> Iterator[Need]:
    """Of every moment that counts at these ratios."""
    elements = layer_elements(manifest, batch)
    kept = kept_elements(elements, ratios).tolist()
    stored = [_stored(store, elements, kept) for store in step.stores]
    sources = [*zip(elements.tolist(), kept), *((int(elements[i.layers[0]]), n) for i, n in zip(step.stores, stored))]
    for moment, waiting in zip(step.moments, _waiting(step, elements, stored)):
        if moment.condition is None or _holds(moment.condition, *sources[moment.condition.source]):
            working = sum(needed * sources[source][1] for source, needed in moment.working)
            yield Need(fixed_bytes(moment, batch) + waiting + working, moment)


def fixed_bytes(moment: Moment, batch: float) -> int:
    """What it needs on any condition."""
    crowded = min(batch - 1, _CROWD - 1) / (_CROWD - 1)
    return int(moment.alone + (moment.bytes - moment.alone) * crowded + moment.bytes_per_sample * batch)


def layer_elements(manifest: Manifest, batch: int) -> np.ndarray:
    """int64 [L]."""
    return np.array([layer.elements_per_sample * batch for layer in manifest.layers], dtype=np.int64)


def _most_stored(store: Store, elements: np.ndarray, kept: Sequence[int]) -> int:
    """How many elements of a store are kept at most."""
    counts = [kept[layer] for layer in store.layers]
    return min(sum(counts) if store.union else max(counts), int(elements[store.layers[0]]))


def _stored(store: Store, elements: np.ndarray, kept: Sequence[int]) -> int:
    """How many are, as a rule: see `united`."""
    if not store.union:
        return _most_stored(store, elements, kept)
    norm, conv = (kept[layer] for layer in store.layers)
    return united(int(elements[store.layers[0]]), norm, conv)


def united(elements: int, norm: int, conv: int) -> int:
    """How many of `elements`, symmetric about zero, a union keeps for BatchNorm, which keeps the largest in magnitude,
    and for the convolution behind its Relu.

    The larger part of the positive ones, of the negative ones half of what BatchNorm keeps and, where the convolution
    keeps more than is positive, as many others.
    """
    half = elements / 2
    others = max(0.0, conv - half)
    return int(max(min(conv, half), norm / 2) + norm / 2 + others - others * norm / elements)


def _waiting(step: StepFacts, elements: np.ndarray, stored: Sequence[int]) -> List[int]:
    """Bytes of the stores that are in memory at each moment."""
    change = np.zeros(len(step.moments) + 1, np.int64)
    for store, count in zip(step.stores, stored):
        first, behind = store.span
        size = _resident(values_bytes(step, count))
        if step.compact_places:
            size += _resident(places_bytes(int(elements[store.layers[0]]), count, compact=True))
        change[first] += size
        change[behind] -= size
    return np.cumsum(change)[:-1].tolist()  # type: ignore[no-any-return]


def _resident(size: int) -> int:
    """Bytes of memory that a buffer takes: large ones are whole pages."""
    return size if size < RETURNED else -(-(size + _HEADER) // _PAGE) * _PAGE


def _holds(condition: Condition, elements: int, kept: int) -> bool:
    if condition.share is not None:
        return kept >= condition.share * elements
    return kept >= 4 and math.log2(kept) >= SORTING * math.log2(elements)
