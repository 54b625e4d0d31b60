"""A budget is kept: what waits for the backward pass fits, the peak is as predicted, what cannot fit is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.budget import Case, facts_of, run
from graphs.allocation import fixed_bytes
from graphs.liveness import find_peak
from tests.end_to_end.conftest import DEVICE_PYTHON, Run
from toolchain.driver.budget import Work
from toolchain.driver.manifest import Manifest, read_manifest
from toolchain.driver.needs import predict_peak
from toolchain.errors import UsageError
from toolchain.pipeline import Request, build
from toolchain.stages.bundle import seal

FORMS = ("native", "portable")
SHARES = (0.0, 0.1, 0.5, 1.2)
"""Of the way from the least that a step needs to what it needs without pruning."""


def manifest_of(bundle: Path) -> Manifest:
    return read_manifest(bundle / "manifest.json")


def budget_at(bundle: Path, form: str, batch: int, share: float) -> int:
    manifest = manifest_of(bundle)
    work = Work(manifest, facts_of(manifest, form), batch)
    least, most = work.least.bytes, work.need(np.zeros(len(manifest.layers), np.float32)).bytes
    return int(least + share * (most - least))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("batch", "ratio"), [(8, "0"), (24, "auto")])
def test_steps_keep_to_their_budgets(cifar: Path, form: str, batch: int, ratio: str) -> None:
    for share in SHARES:
        outcome = run(Case(cifar, form, batch, ratio, budget_at(cifar, form, batch, share)), str(DEVICE_PYTHON))
        assert outcome.refusal is None and not outcome.faults, outcome


@pytest.mark.parametrize("form", FORMS)
def test_impossible_budgets_are_refused_with_what_would_fit(cifar: Path, form: str) -> None:
    outcome = run(Case(cifar, form, 16, "auto", budget_at(cifar, form, 10, 0.0)), str(DEVICE_PYTHON))
    assert outcome.refusal is not None and not outcome.faults, outcome
    assert "a step of 16 images needs at least" in outcome.refusal and "pass, at layer layer1." in outcome.refusal
    assert "the largest batch that fits is 10;" in outcome.refusal


def test_a_peak_that_was_predicted_wrongly_is_noticed(cifar: Path, tmp_path: Path) -> None:
    """The negative control: a bundle whose table promises two thirds of what each image takes."""
    liar = Path(shutil.copytree(cifar, tmp_path / "liar"))
    manifest = manifest_of(liar)
    moments = [replace(i, bytes_per_sample=i.bytes_per_sample * 2 // 3) for i in manifest.step.moments]
    seal(liar, replace(manifest, step=replace(manifest.step, moments=tuple(moments))))
    outcome = run(Case(liar, "portable", 24, "0.98", budget_at(cifar, "portable", 24, 0.5)), str(DEVICE_PYTHON))
    assert any("its peak is" in fault for fault in outcome.faults)


@pytest.mark.parametrize("form", FORMS)
def test_the_table_says_what_the_simulation_of_the_graph_finds(cifar: Path, form: str) -> None:
    manifest = manifest_of(cifar)
    facts, random = facts_of(manifest, form), np.random.default_rng(0)
    graph = ir.load(cifar / facts.file).graph
    for batch in (1, 5, 32):
        ratios = random.choice([0.5, 0.9, 0.98, 1.0], len(manifest.layers)).astype(np.float32)
        simulated = find_peak(graph, batch, ratios.tolist()).bytes + fixed_bytes(graph)
        assert predict_peak(manifest, facts, batch, ratios).bytes == pytest.approx(simulated, rel=0.03)


def test_build_refuses_what_cannot_fit(tmp_path: Path) -> None:
    request = Request("cifar_resnet20", "host", batch=8, memory_budget=1 << 20, output=tmp_path / "bundle")
    with pytest.raises(UsageError, match=r"a step of 8 images needs at least \d+ bytes .* the budget is 1048576 bytes"):
        build(request)
    assert not request.folder.exists()


def test_adapt_keeps_to_the_budget_that_was_built_in(cifar: Path, tmp_path: Path, on_device: Run) -> None:
    bundle = Path(shutil.copytree(cifar, tmp_path / "budgeted"))
    budget = budget_at(cifar, "portable", 8, 0.1)
    seal(bundle, replace(manifest_of(bundle), memory_budget=budget))
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).standard_normal((16, 3, 32, 32), np.float32))
    arguments = ("--images", str(images), "--batch", "8", "--operators", "portable", "--no-save", "--json")
    done = on_device(bundle, "adapt", *arguments)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["predicted_peak_bytes"] <= budget and row["kept_bytes"] <= budget for row in rows] == [True, True]
