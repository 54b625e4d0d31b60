"""Prune ratios with which a step stays inside a memory budget, or the reason why none do.

A budget bounds what a step needs above parameters, optimizer state and input: what it keeps for its backward pass,
which is known exactly, and its peak, which is predicted.
"""

from typing import Callable, NamedTuple

import numpy as np

from toolchain.driver.bytesize import format_bytes
from toolchain.driver.manifest import Manifest, StepFacts
from toolchain.driver.needs import Need, highest, needs, predict_peak, step_bytes
from toolchain.errors import UsageError

_BISECTIONS = 60


class Work(NamedTuple):
    """A step on `batch` images, or a probe. besides: bytes that it needs outside of its graph."""

    manifest: Manifest
    step: StepFacts
    batch: int
    name: str = "step"
    besides: int = 0

    def peak(self, ratios: np.ndarray) -> Need:
        """As predicted at these ratios [L]."""
        peak = predict_peak(self.manifest, self.step, self.batch, ratios)
        return Need(peak.bytes + self.besides, peak.moment)

    def need(self, ratios: np.ndarray) -> Need:
        """What a budget has to cover at these ratios [L]."""
        peak, kept = self.peak(ratios), step_bytes(self.manifest, self.step, self.batch, ratios)
        return Need(max(peak.bytes, kept), peak.moment)

    @property
    def least(self) -> Need:
        """What it needs when no activation is kept."""
        return self.need(self._nothing)

    @property
    def least_forward(self) -> Need:
        """What its forward pass alone needs then."""
        found = needs(self.manifest, self.step, self.batch, self._nothing)
        peak = highest(need for need in found if need.moment is not None and not need.moment.backward)
        return Need(peak.bytes + self.besides, peak.moment)

    @property
    def _nothing(self) -> np.ndarray:
        return np.ones(len(self.manifest.layers), np.float32)


def probe_work(manifest: Manifest, step: StepFacts, batch: int) -> Work:
    """A probe: its images are copied and, where the graph cannot rest, one buffer takes the state that it computes."""
    model = manifest.model
    images = 4 * batch * model.channels * model.image_size**2
    spared = ("parameter", "moment") if step.inputs_of("active") else ()
    written = [tensor for tensor in step.inputs if tensor.name in step.updates().values() and tensor.role not in spared]
    scratch = max((tensor.bytes for tensor in written), default=0)
    return Work(manifest, step, batch, "probe", images + scratch)


def prediction_work(manifest: Manifest, predict: StepFacts, batch: int) -> Work:
    """A forward pass alone, perhaps on images that were made from those of the batch."""
    model = manifest.model
    return Work(manifest, predict, batch, "prediction", 4 * batch * model.channels * model.image_size**2)


def fit_ratios(work: Work, ratios: np.ndarray, budget: int) -> np.ndarray:
    """Ratios float32 [L] that keep the largest same share of what `ratios` keeps and fit `budget` bytes.

    Raises UsageError if the work does not fit even when it keeps no activation.
    """
    if work.need(ratios).bytes <= budget:
        return ratios
    require_fit(work, budget)
    share, too_much = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (share + too_much) / 2
        if work.need(_scale(ratios, middle)).bytes <= budget:
            share = middle
        else:
            too_much = middle
    return _scale(ratios, share)


def require_fit(work: Work, budget: int) -> None:
    """Raises UsageError, with the numbers and what would fit, for a budget that no prune ratios meet."""
    least = work.least
    if least.bytes > budget:
        raise UsageError(
            f"a {work.name} of {_images(work.batch)} needs at least {_amount(least.bytes)} with every activation pruned"
            f"{_where(work, least, budget)}, the budget is {_amount(budget)}: {_advice(work, budget)}"
        )


def largest_batch(work: Work, budget: int) -> int:
    """Most images, up to those of `work`, that can be made to fit `budget` bytes; 0 if none."""
    return _largest(work.batch, lambda batch: work._replace(batch=batch).least.bytes <= budget)


def largest_image_size(work: Work, budget: int) -> int:
    """An estimate of the largest side in pixels at which one image fits, as memory grows with the area; 0 if none."""
    whole = work.manifest.model.image_size

    def fits(side: int) -> bool:
        area = (side / whole) ** 2
        return all(moment.alone + moment.bytes_per_sample * area <= budget - work.besides for moment in moments)

    moments = [moment for moment in work.step.moments if moment.condition is None]
    return _largest(whole - 1, fits) if moments else 0


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that fits, where every smaller one does; 0 if none."""
    fitting, too_many = 0, limit + 1
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if fits(middle):
            fitting = middle
        else:
            too_many = middle
    return fitting


def _scale(ratios: np.ndarray, share: float) -> np.ndarray:
    return (1.0 - share * (1.0 - ratios.astype(np.float64))).astype(np.float32)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _amount(size: int) -> str:
    return f"{size} bytes ({format_bytes(size)})"


def _where(work: Work, least: Need, budget: int) -> str:
    """The layer at which the peak is, and the forward pass's where that is too much already."""
    if least.moment is None:
        return ""
    if not least.moment.backward:
        return f" (in the forward pass, at layer {least.moment.layer})"
    forward = work.least_forward
    peak = f"in the backward pass, at layer {least.moment.layer}"
    if forward.bytes <= budget or forward.moment is None:
        return f" ({peak})"
    return f" ({peak}; the forward pass alone {_amount(forward.bytes)}, at layer {forward.moment.layer})"


def _advice(work: Work, budget: int) -> str:
    fitting = largest_batch(work, budget)
    if fitting:
        return f"the largest batch that fits is {fitting}; raise the budget or lower --batch"
    side = largest_image_size(work, budget)
    if side:
        estimate = f"one of about {side} x {side} pixels would (an estimate)"
        return f"not even one image fits, {estimate}: raise the budget or build with --image-size {side}"
    return "not even one image fits, of any size: raise the budget"
