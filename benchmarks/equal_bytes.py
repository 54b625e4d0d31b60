"""Budgets and ratios with which two methods keep equally many bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain.driver.budget import Work, probe_work
from toolchain.driver.bundle import Bundle
from toolchain.driver.controller import uniform_ratios
from toolchain.driver.needs import step_bytes

SHARES = (0.7, 0.45, 0.25, 0.1)
"""Of what lies between the least that a step needs and what it needs at the method's own ratios."""

BISECTIONS = 30


def budgets(bundle: Path, batch: int, own: Sequence[Mapping[str, Any]]) -> list[int]:
    """Four that lie below what a method needs by itself. own: its results without one."""
    facts = Bundle(bundle).manifest
    step = facts.native or facts.step
    works = (Work(facts, step, batch), probe_work(facts, step, facts.method.probe.samples))
    least = max(work.least.bytes for work in works)
    most = max(document["predicted_peak_bytes"] for document in own)
    return [round(least + share * (most - least)) for share in SHARES]


def ratio_for(bundle: Path, batch: int, kept_bytes: float) -> float:
    """The one ratio of all layers at which a step keeps at most so many bytes; 1 if none does."""
    facts = Bundle(bundle).manifest
    step = facts.native or facts.step
    enough, too_little = 1.0, 0.0
    for _ in range(BISECTIONS):
        middle = (enough + too_little) / 2
        if step_bytes(facts, step, batch, uniform_ratios(len(facts.layers), middle)) <= kept_bytes:
            enough = middle
        else:
            too_little = middle
    return enough
