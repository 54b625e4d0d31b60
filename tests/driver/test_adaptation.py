"""What happens to one batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver.tiny_bundle import random_images
from toolchain.driver.adaptation import Adapter, Settings, SkippedBatch, elements_per_sample, parse_ratios
from toolchain.driver.budget import probe_work
from toolchain.driver.bundle import Bundle
from toolchain.driver.controller import surgeon_ratios
from toolchain.driver.manifest import Manifest, ProbeFacts
from toolchain.driver.step import Feeds, Step, StepResult
from toolchain.errors import BundleError, UsageError

AUTO = Settings(prune_ratios=None, importance="probe", budget=None, learning_rate=0.05, seed=0)


@pytest.fixture
def step(shipped: Path) -> Step:
    return Step(Bundle(shipped), threads=1)


@pytest.fixture
def manifest(shipped: Path) -> Manifest:
    return Bundle(shipped).manifest


def with_controller(manifest: Manifest, name: str) -> Manifest:
    return replace(manifest, method=replace(manifest.method, controller=name))


def test_update_that_is_not_finite_is_noticed_in_its_own_batch(step: Step, manifest: Manifest) -> None:
    adapter = Adapter(manifest, step, replace(AUTO, learning_rate=float("inf")))
    with pytest.raises(SkippedBatch, match="updated parameter") as skipped:
        adapter.adapt(random_images(4))
    assert skipped.value.state_is_lost


def test_images_that_are_not_finite_never_reach_the_step(step: Step, manifest: Manifest) -> None:
    before = {name: array.tobytes() for name, array in step.state.items()}
    images = random_images(4)
    images[0, 0, 0, 0] = np.inf
    with pytest.raises(SkippedBatch, match="images") as skipped:
        Adapter(manifest, step, AUTO).adapt(images)
    assert not skipped.value.state_is_lost
    assert {name: array.tobytes() for name, array in step.state.items()} == before


def test_dense_and_static_controllers(step: Step, manifest: Manifest) -> None:
    dense = Adapter(with_controller(manifest, "dense"), step, AUTO).adapt(random_images(4))
    assert dense.prune_ratios == [0.0, 0.0]
    static = Adapter(with_controller(manifest, "static"), step, AUTO).adapt(random_images(4))
    assert static.prune_ratios == [np.float32(0.9)] * 2
    with pytest.raises(BundleError, match="'psychic'"):
        Adapter(with_controller(manifest, "psychic"), step, AUTO).adapt(random_images(4))


def test_probe_stays_inside_the_budget_too(step: Step, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    probed, probe = [], step.probe

    def recording(images: np.ndarray, ratios: np.ndarray, feeds: Feeds) -> StepResult:
        probed.append((images, ratios))
        return probe(images, ratios, feeds)

    monkeypatch.setattr(step, "probe", recording)
    greedy = replace(manifest, method=replace(manifest.method, probe=ProbeFacts(samples=2, prune_ratio=0.0)))
    work = probe_work(manifest, step.facts, 2)
    budget = work.least.bytes
    Adapter(greedy, step, replace(AUTO, budget=budget)).adapt(random_images(4))
    ((images, ratios),) = probed
    assert len(images) == 2 and work.need(ratios).bytes <= budget
    with pytest.raises(UsageError, match="a probe of 2 images needs at least"):
        Adapter(greedy, step, replace(AUTO, budget=budget - 1)).adapt(random_images(4))


def test_importance_is_not_taken_from_a_skipped_batch(step: Step, manifest: Manifest) -> None:
    adapter = Adapter(manifest, step, replace(AUTO, importance="previous"))
    first = adapter.adapt(random_images(4)).prune_ratios
    with pytest.raises(SkippedBatch):
        adapter.adapt(np.full((4, 3, 4, 4), np.nan, np.float32))
    assert adapter.adapt(random_images(4, seed=1)).prune_ratios != first


def test_importance_is_not_taken_from_a_batch_that_selects_nothing(
    step: Step, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[StepResult] = []
    run = step.run

    def selecting(*arguments: Any) -> StepResult:
        """Not from the second batch."""
        result = run(*arguments)
        if results:
            nothing = np.zeros(4, np.float32)
            result = replace(result, grad_rms=np.zeros_like(result.grad_rms), sample_weights=nothing)
        results.append(result)
        return result

    monkeypatch.setattr(step, "run", selecting)
    adapter = Adapter(manifest, step, replace(AUTO, importance="previous"))
    found = [adapter.adapt(random_images(4, seed=seed)).prune_ratios for seed in range(3)]
    assert found[2] == found[1] == surgeon_ratios(results[0].grad_rms, elements_per_sample(manifest)).tolist()
    assert found[1] != found[0]


def test_what_is_drawn_depends_on_the_seed_and_on_the_batches_before(
    step: Step, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed, probe = [], step.probe

    def recording(images: np.ndarray, ratios: np.ndarray, feeds: Feeds) -> StepResult:
        probed.append(images.tobytes())
        return probe(images, ratios, feeds)

    monkeypatch.setattr(step, "probe", recording)
    for seen in (*range(6), 0):
        Adapter(manifest, step, AUTO, seen).adapt(random_images(4))
    assert probed[0] == probed[6]
    assert len(set(probed)) > 1


def test_ratios_as_text() -> None:
    assert parse_ratios("auto", 2) is None
    ratios = parse_ratios("0.9", 2)
    assert ratios is not None and ratios.tolist() == [np.float32(0.9)] * 2
