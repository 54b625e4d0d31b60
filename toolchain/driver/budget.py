"""How many bytes a step keeps for its backward pass, and prune ratios that keep them inside a budget."""

from typing import Sequence

import numpy as np

from toolchain.driver.bytesize import format_bytes
from toolchain.driver.manifest import Manifest, StepFacts, Store
from toolchain.errors import UsageError

_BISECTIONS = 60


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


def kept_bytes(manifest: Manifest, step: StepFacts, batch: int, kept: Sequence[int]) -> int:
    """Bytes that wait for the backward pass, `kept` elements a layer: values, places, and all else that is saved."""
    others = sum(saved.bytes + saved.bytes_per_sample * batch for saved in step.saved)
    return others + sum(_store_bytes(manifest, step, batch, kept, store) for store in step.stores)


def _store_bytes(manifest: Manifest, step: StepFacts, batch: int, kept: Sequence[int], store: Store) -> int:
    """At most: a union may be smaller than the sum of its parts."""
    elements = manifest.layers[store.layers[0]].elements_per_sample * batch
    counts = [int(kept[layer]) for layer in store.layers] if len(kept) else [0]
    most = min(sum(counts), elements) if store.union else max(counts)
    return step.value_bytes * most + places_bytes(elements, most, step.compact_places)


def step_bytes(manifest: Manifest, step: StepFacts, batch: int, ratios: np.ndarray) -> int:
    """Bytes that a step at these ratios [L] keeps."""
    return kept_bytes(manifest, step, batch, kept_elements(_elements(manifest, batch), ratios).tolist())


def fit_ratios(manifest: Manifest, step: StepFacts, batch: int, ratios: np.ndarray, budget: int) -> np.ndarray:
    """Ratios float32 [L] that keep the largest same share of what `ratios` keeps and fit `budget` bytes.

    Raises UsageError if the step does not fit even when it keeps no activation.
    """
    if step_bytes(manifest, step, batch, ratios) <= budget:
        return ratios
    if kept_bytes(manifest, step, batch, []) > budget:
        raise UsageError(_too_small(manifest, step, batch, budget))
    share, too_much = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (share + too_much) / 2
        if step_bytes(manifest, step, batch, _scale(ratios, middle)) <= budget:
            share = middle
        else:
            too_much = middle
    return _scale(ratios, share)


def largest_batch(manifest: Manifest, step: StepFacts, budget: int, limit: int) -> int:
    """Most images, up to `limit`, whose step can be made to fit `budget` bytes; 0 if none."""
    fitting, too_many = 0, limit + 1
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if kept_bytes(manifest, step, middle, []) <= budget:
            fitting = middle
        else:
            too_many = middle
    return fitting


def _elements(manifest: Manifest, batch: int) -> np.ndarray:
    return np.array([layer.elements_per_sample * batch for layer in manifest.layers], dtype=np.int64)


def _scale(ratios: np.ndarray, share: float) -> np.ndarray:
    return (1.0 - share * (1.0 - ratios.astype(np.float64))).astype(np.float32)


def _too_small(manifest: Manifest, step: StepFacts, batch: int, budget: int) -> str:
    least, fitting = kept_bytes(manifest, step, batch, []), largest_batch(manifest, step, budget, batch)
    advice = f"the largest batch that fits is {fitting}" if fitting else "not even one image fits"
    return (
        f"a step of {batch} images keeps at least {least} bytes ({format_bytes(least)}) with every activation pruned, "
        f"the budget is {budget} ({format_bytes(budget)}): {advice}; raise --budget or lower --batch"
    )
