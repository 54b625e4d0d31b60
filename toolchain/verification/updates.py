"""What several batches in a row do to predictions, parameters and running statistics."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from toolchain.driver.methods import open_procedure
from toolchain.driver.step import Step
from toolchain.verification.case import Case
from toolchain.verification.check import FLIPS, Arrays, Check, distance
from toolchain.verification.twin import make_twin

STEPS = 5
RATIO = 0.5
SEED = 0


@dataclass(frozen=True)
class Course:
    """logits [STEPS · N, C]: what was predicted. tensors: the state behind the last batch, by name."""

    logits: np.ndarray
    tensors: Arrays


def check_updates(case: Case) -> Iterator[Check]:
    """Five batches at p = 0.5, the driver with its method's procedure against the eager twin in float64.

    Of the state the changes are compared, not the values. Adam divides by the gradient's own size, so that an element
    whose gradient is rounding moves as far as any other, its direction given by chance: the limit is what eager float32
    errs, doubled.
    """
    batches = list(case.batches(STEPS))
    single, exact = (run_twin(case, batches, dtype) for dtype in (torch.float32, torch.float64))
    for form in case.forms:
        yield from compare(case, form, run_driver(case, batches, form), single, exact)


def compare(case: Case, form: str, found: Course, single: Course, exact: Course) -> Iterator[Check]:
    """Of predictions, and of each kind of state that there is."""
    courses = (found, single, exact)
    logits = [{"logits": course.logits} for course in courses]
    yield _check(f"{form}: predictions of {STEPS} batches", *logits)
    shipped = {name: array.copy() for name, array in Step(case.bundle).state.items()}
    for kind, names in _kinds(case).items():
        changes = [_changes(course.tensors, shipped, names) for course in courses]
        if names:
            yield _check(f"{form}: {kind} after {STEPS} steps", *changes)


def run_driver(case: Case, batches: list[np.ndarray], form: str) -> Course:
    """As the device does it, at fixed prune ratios."""
    step = Step(case.bundle, operators=form)
    procedure = open_procedure(case.manifest, step, np.random.default_rng(SEED))
    logits = []
    for images in batches:
        feeds = procedure.prepare(images)
        logits.append(procedure.learn(images, _ratios(case), case.manifest.method.learning_rate, feeds).logits)
    return Course(np.concatenate(logits), step.state)


def run_twin(case: Case, batches: list[np.ndarray], dtype: torch.dtype) -> Course:
    twin = make_twin(case, dtype, np.random.default_rng(SEED))
    rate, ratios = case.manifest.method.learning_rate, torch.from_numpy(_ratios(case))
    logits = []
    for batch in batches:
        images = torch.from_numpy(batch).to(dtype)
        logits.append(twin.learn(images, ratios, rate, twin.prepare(images)).logits.numpy())
    return Course(np.concatenate(logits), twin.tensors())


def _changes(after: Arrays, before: Arrays, names: list[str]) -> Arrays:
    return {name: after[name] - before[name].astype(np.float64) for name in names}


def _check(name: str, found: Arrays, single: Arrays, exact: Arrays) -> Check:
    return Check(name, distance(found, exact), max(FLIPS, 2 * distance(single, exact)))


def _kinds(case: Case) -> dict[str, list[str]]:
    facts = case.manifest
    return {
        "parameters": case.trained,
        "teacher": [tensor.name for tensor in facts.method.state if tensor.role == "teacher"],
        "running statistics": [tensor.name for tensor in facts.step.inputs_of("statistic")],
    }


def _ratios(case: Case) -> np.ndarray:
    return np.full(len(case.manifest.layers), RATIO, np.float32)
