"""The optimizer of a step, in its graph or beside it, alone."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from toolchain.driver.methods.optimizers import clear_gradients, descend
from toolchain.driver.step import Step
from toolchain.methods.declaration import Adam, LayerRates
from toolchain.reference.step import build_optimizer
from toolchain.verification.case import Case
from toolchain.verification.check import Arrays, Check, distance

STEPS = 5
RATIO = 0.5
OPTIMIZER_ROUNDING = 1e-3
"""A float32 update read off as a difference of parameters, against float64."""

HALF_UNIT = 2.0**-24
"""Of a parameter, by which each update of it is rounded: it may be more of a small change."""


def check_optimizer(case: Case) -> Iterator[Check]:
    """torch's optimizer in float64, fed with the very gradients that the compiled step found."""
    if case.method.optimizer is None or isinstance(case.method.beside, LayerRates):
        return
    for form in case.forms:
        yield _check_optimizer(case, Step(case.bundle, operators=form), f"{form}: optimizer over {STEPS} steps")


def _check_optimizer(case: Case, step: Step, label: str) -> Check:
    names = case.trained
    shipped = {name: step.tensors[name].copy() for name in names}
    parameters = [torch.nn.Parameter(torch.from_numpy(shipped[name].astype(np.float64))) for name in names]
    rate = case.manifest.method.learning_rate  # of the bundle's batch
    optimizer = build_optimizer(replace(case.optimizer, learning_rate=rate), parameters)
    for images in case.batches(STEPS):
        gradients = _advance(case, step, images)
        for parameter, name in zip(parameters, names, strict=True):
            parameter.grad = torch.from_numpy(gradients[name]) if name in gradients else None
        optimizer.step()
    exact = {name: value.detach().numpy() - shipped[name] for name, value in zip(names, parameters, strict=True)}
    found = {name: step.tensors[name] - shipped[name].astype(np.float64) for name in names}
    rounded = {name: exact[name] + STEPS * HALF_UNIT * np.abs(shipped[name].astype(np.float64)) for name in names}
    return Check(label, distance(found, exact), max(OPTIMIZER_ROUNDING, distance(rounded, exact)))


def _advance(case: Case, step: Step, images: np.ndarray) -> Arrays:
    """One update; its gradients float64, by parameter; none of one that rested, or where no sample was selected."""
    rate, ratios = case.manifest.method.learning_rate, np.full(len(case.manifest.layers), RATIO, np.float32)
    before = _kept(step, case.trained)
    clear_gradients(step)
    result = step.run(images, ratios, rate, case.feeds())
    after = _kept(step, case.trained)
    if step.of("gradient"):
        descend(step, case.manifest.method.numbers, rate)
        return after
    moved = [name for name in case.trained if result.selected and (after[name] != before[name]).any()]
    return {name: _gradient(case, before[name], after[name]) for name in moved}


def _gradient(case: Case, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """g from m' = beta m + (1 - beta) g, or from m' = momentum m + g."""
    optimizer = case.optimizer
    if isinstance(optimizer, Adam):
        return np.asarray((after - optimizer.beta1 * before) / (1 - optimizer.beta1))
    return np.asarray(after - optimizer.momentum * before)


def _kept(step: Step, names: list[str]) -> dict[str, np.ndarray]:
    """The gradients where they are kept, else the first moments."""
    kind = "gradient" if step.of("gradient") else "moment1"
    return {name: step.tensors[f"{name}.{kind}"].astype(np.float64) for name in names}
