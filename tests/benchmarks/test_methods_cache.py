"""The bytes that SURGEON's paper would count."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.methods_cache import BATCH, largest_input, their_count, waiting_besides
from tests.end_to_end.conftest import SHIPPED
from toolchain.driver.bundle import Bundle
from toolchain.driver.needs import kept_bytes
from toolchain.models.registry import load_model
from toolchain.pipeline import Request, build

STEM = 4 * BATCH * 16 * 32 * 32
"""Bytes of the largest map of a ResNet-20."""


def test_largest_input() -> None:
    assert largest_input(load_model("cifar_resnet20", str(SHIPPED)).module, 32) == STEM


def test_mecta_counts_the_channels_of_layers_that_were_on(tmp_path: Path) -> None:
    """Five channels of 16, ten of 32, 20 of 64; nothing of a layer that was off."""
    build(Request("cifar_resnet20", "host", method="mecta", output=tmp_path / "bundle"))
    facts = Bundle(tmp_path / "bundle").manifest
    form = facts.native or facts.step
    shares = {16: 5 / 16, 32: 10 / 32, 64: 20 / 64}
    widths = {16 * 1024: 16, 32 * 256: 32, 64 * 64: 64}
    all_on = [int(BATCH * i.elements_per_sample * shares[widths[i.elements_per_sample]]) for i in facts.layers]
    for kept in (all_on, [0, *all_on[1:]]):
        step = {"kept_bytes": kept_bytes(facts, form, BATCH, kept), "prune_ratios": [0.7] * len(kept)}
        assert their_count(facts, form, step) == 4 * sum(kept)
    assert sum(waiting_besides(form).values()) == kept_bytes(facts, form, BATCH, [0] * len(all_on))


def test_ratios_decide_elsewhere(tmp_path: Path) -> None:
    build(Request("cifar_resnet20", "host", method="tent", output=tmp_path / "bundle"))
    facts = Bundle(tmp_path / "bundle").manifest
    elements = np.array([layer.elements_per_sample * BATCH for layer in facts.layers])
    ratios = np.linspace(0, 1, len(elements)).tolist()
    expected = 4 * sum(int(count * (1 - ratio)) for count, ratio in zip(elements, ratios, strict=True))
    found = their_count(facts, facts.step, {"prune_ratios": ratios, "kept_bytes": 0})
    assert found == pytest.approx(expected, abs=4 * len(ratios))
