"""What several steps in a row do to parameters and running statistics."""

from collections.abc import Iterator

import numpy as np
import torch

from toolchain.driver.step import Step
from toolchain.methods.declaration import Adam
from toolchain.reference.step import build_optimizer
from toolchain.verification.case import Case
from toolchain.verification.check import FLIPS, Arrays, Check, distance

STEPS = 5
RATIO = 0.5
OPTIMIZER_ROUNDING = 1e-3
"""A float32 update read off as a difference of parameters, against float64."""


def check_updates(case: Case) -> Iterator[Check]:
    """Parameters and running statistics after five steps at p = 0.5, against eager float64.

    The changes are compared, not the values. Adam divides by the gradient's own size, so that an element whose gradient
    is rounding moves as far as any other, its direction given by chance: the limit is what eager float32 errs, doubled.
    """
    shipped = _initial(case)
    single, exact = (_changes(_eager(case, dtype), shipped) for dtype in (torch.float32, torch.float64))
    for form in case.forms:
        found = _changes(_compiled(case, form), shipped)
        for kind, names in (("parameters", case.trained), ("running statistics", _statistics(case))):
            if names:
                measured, errs = (distance(_only(part, names), _only(exact, names)) for part in (found, single))
                yield Check(f"{form}: {kind} after {STEPS} steps", measured, max(FLIPS, 2 * errs))


def check_optimizer(case: Case) -> Iterator[Check]:
    """The update alone: torch's optimizer in float64, fed with the very gradients that the compiled step found."""
    for form in case.forms:
        yield _check_optimizer(case, Step(case.bundle, operators=form), f"{form}: optimizer over {STEPS} steps")


def _check_optimizer(case: Case, step: Step, label: str) -> Check:
    names = case.trained
    followed = {name: torch.from_numpy(step.state[name].astype(np.float64)) for name in names}
    optimizer = build_optimizer(case.method.optimizer, [torch.nn.Parameter(followed[name]) for name in names])
    parameters = optimizer.param_groups[0]["params"]
    for images in case.batches(STEPS):
        before = _moments(step, names)
        step.run(images, _ratios(case), case.manifest.method.learning_rate)
        for parameter, name in zip(parameters, names, strict=True):
            parameter.grad = torch.from_numpy(_gradient(case, before[name], _moments(step, [name])[name]))
        optimizer.step()
    shipped = _initial(case)
    exact = {name: value.detach().numpy() for name, value in zip(names, parameters, strict=True)}
    measured = distance(_changes(step.state, _only(shipped, names)), _changes(exact, _only(shipped, names)))
    return Check(label, measured, OPTIMIZER_ROUNDING)


def _gradient(case: Case, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """g from m' = beta m + (1 - beta) g, or from m' = momentum m + g."""
    optimizer = case.method.optimizer
    if isinstance(optimizer, Adam):
        return np.asarray((after - optimizer.beta1 * before) / (1 - optimizer.beta1))
    return np.asarray(after - optimizer.momentum * before)


def _moments(step: Step, names: list[str]) -> dict[str, np.ndarray]:
    return {name: step.state[f"{name}.moment1"].astype(np.float64) for name in names}


def _initial(case: Case) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in Step(case.bundle).state.items()}


def _compiled(case: Case, form: str) -> Arrays:
    step = Step(case.bundle, operators=form)
    for images in case.batches(STEPS):
        step.run(images, _ratios(case), case.manifest.method.learning_rate)
    return step.state


def _eager(case: Case, dtype: torch.dtype) -> Arrays:
    step = case.eager(dtype)
    for images in case.batches(STEPS):
        step.run(torch.from_numpy(images).to(dtype), torch.from_numpy(_ratios(case)))
    return {name: tensor.numpy() for name, tensor in step.parameters().items()}


def _ratios(case: Case) -> np.ndarray:
    return np.full(len(case.manifest.layers), RATIO, np.float32)


def _statistics(case: Case) -> list[str]:
    return [tensor.name for tensor in case.manifest.step.inputs_of("statistic")]


def _changes(after: Arrays, before: Arrays) -> dict[str, np.ndarray]:
    return {name: after[name] - before[name].astype(np.float64) for name in before if name in after}


def _only(arrays: Arrays, names: list[str]) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in names}
