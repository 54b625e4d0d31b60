"""Forward, loss and every gradient of every dialect against eager PyTorch."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from toolchain.driver.step import PORTABLE, Step
from toolchain.verification.case import Case
from toolchain.verification.check import EXACT, FLIPS, ROUNDING, Check, distance, relative_error
from toolchain.verification.dialects import Outcome, run_eager, run_step, run_training

SAME_RUNTIME = 1e-3
"""These two share their forward kernels, so hardly anything flips between them. But the engine fuses a convolution
and the Relu behind it, as a frozen model with folded BatchNorm has them."""


def check_gradients(case: Case) -> Iterator[Check]:
    """At p = 0, at random ratios and at 0.9; the worst batch counts."""
    if case.method.optimizer is None:
        return
    feeds = case.feeds()
    eager = {dtype: case.eager(dtype) for dtype in (torch.float32, torch.float64)}
    steps = {form: Step(case.bundle, operators=form) for form in case.forms}
    for label, ratios in case.ratios():
        measured = []
        for images in case.batches():
            single, exact = (run_eager(step, images, ratios, feeds, dtype) for dtype, step in eager.items())
            training = run_training(case.bundle, images, ratios, feeds)
            compiled = {form: run_step(steps[form], images, ratios, feeds, case.optimizer) for form in steps}
            found = {**compiled, "ort-training": training}
            measured.append([check for name in found for check in _against(name, label, found[name], single, exact)])
            limit = SAME_RUNTIME if case.method.meta_networks is None else FLIPS
            measured[-1].append(_agreement(label, compiled[PORTABLE], training, limit))
        yield from (max(same, key=_severity) for same in zip(*measured, strict=True))


def _severity(check: Check) -> float:
    """How near to its limit a check came; nothing is worse than one that failed, be it by NaN."""
    return check.measured / (check.limit or 1) if check.passed else math.inf


def _against(dialect: str, label: str, found: Outcome, single: Outcome, exact: Outcome) -> Iterator[Check]:
    """Limits are twice or four times what eager float32 errs from eager float64, above the floors of `check`."""
    name = f"{dialect}, {label}: "
    forward = ROUNDING + 4 * relative_error(single.logits, exact.logits)
    yield Check(name + "logits", relative_error(found.logits, exact.logits), forward)
    yield Check(name + "loss", abs(found.loss - exact.loss) / max(abs(exact.loss), 1e-6), ROUNDING + forward)
    limit = max(FLIPS, 2 * distance(single.gradients, exact.gradients))
    yield Check(name + "gradients", distance(found.gradients, exact.gradients), limit)
    rms = max(FLIPS, 2 * relative_error(single.grad_rms, exact.grad_rms))
    yield Check(name + "grad_rms", relative_error(found.grad_rms, exact.grad_rms), rms)
    yield Check(name + "kept counts", float(np.abs(found.kept_elements - exact.kept_elements).sum()), EXACT)


def _agreement(label: str, compiled: Outcome, training: Outcome, limit: float) -> Check:
    return Check(
        f"{PORTABLE} against ort-training, {label}: gradients",
        distance(compiled.gradients, training.gradients),
        limit,
    )
