"""A bundle of MECTA: what it keeps, what it refuses, and that it adapts without torch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.end_to_end.conftest import Build, Run
from tests.end_to_end.test_ecotta import photographs
from toolchain.driver.adaptation import Adapter, Settings
from toolchain.driver.bundle import Bundle
from toolchain.driver.needs import kept_bytes, step_bytes
from toolchain.driver.step import Step, StepResult
from toolchain.errors import ModelError, ToolchainError, UsageError
from toolchain.methods import Choices, find_method
from toolchain.methods.declaration import Mecta
from toolchain.pipeline import Request, build
from toolchain.reference.mecta import MectaStep
from toolchain.verification import verify
from toolchain.verification.case import Case

CHANNELS = 688
"""Of all BatchNorms of a ResNet-20."""


@pytest.fixture(scope="module")
def bundle(built: Build) -> Path:
    return built("cifar_resnet20", method="mecta")


def keys(seed: int) -> dict[str, np.ndarray]:
    return {"channel_keys": np.random.default_rng(seed).random(CHANNELS, np.float32)}


def run(step: Step, images: np.ndarray, seed: int = 0) -> StepResult:
    return step.run(images, np.zeros(0, np.float32), 2.5e-3, keys(seed))


def test_verify_passes(bundle: Path) -> None:
    failed = [check for check in verify(bundle, samples=4, batches=1) if not check.passed]
    assert failed == []


def test_twin_has_the_numbers_of_the_data_set(bundle: Path) -> None:
    case = replace(Case.load(bundle, 1, 1), method=find_method("mecta", Choices(setting="cifar100")))
    step = case.eager(torch.float32)
    assert isinstance(step, MectaStep) and step.numbers == Mecta(threshold=0.0025, drop=0.7)


def statistics_of(bundle: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the running statistics are where BatchNorm has seen nothing but these images."""
    module = Case.load(bundle, 1, 1).module.train()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    module(torch.from_numpy(images))
    return {name: tensor.numpy() for name, tensor in module.named_buffers() if "running" in name}


def test_with_the_filters_of_eata(built: Build) -> None:
    """A batch of noise, of which no prediction is certain, moves the statistics alone; photographs teach."""
    selecting = built("cifar_resnet20", method="mecta", selection=True)
    failed = [check for check in verify(selecting, samples=8, batches=1) if not check.passed]
    assert failed == []
    step = Step(Bundle(selecting))
    adapter = Adapter(Bundle(selecting).manifest, step, Settings(None, "probe", None, 2.5e-3, seed=0))
    weights = {name: array.copy() for name, array in step.of("parameter").items()}
    statistics = {name: array.copy() for name, array in step.of("statistic").items()}
    noise = 0.01 * np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    assert adapter.adapt(noise).selected == 0
    assert all(np.array_equal(step.state[name], array) for name, array in weights.items())
    assert all((step.state[name] != array).any() for name, array in statistics.items())
    assert 0 < adapter.adapt(photographs(32)).selected < 32
    assert any((step.state[name] != array).any() for name, array in weights.items())


@pytest.mark.parametrize("form", ["native", "portable"])
def test_what_is_no_news_keeps_nothing_and_teaches_nothing(bundle: Path, form: str) -> None:
    images, step = photographs(32), Step(Bundle(bundle), operators=form)
    for name, array in statistics_of(bundle, images).items():
        np.copyto(step.state[name], array)
    weights = {name: array.copy() for name, array in step.of("parameter").items()}
    assert not run(step, images).kept_elements.any()
    assert all(np.array_equal(step.state[name], array) for name, array in weights.items())
    assert run(step, 0.5 * photographs(32, 200)).kept_elements.all()
    assert all((step.state[name] != array).any() for name, array in weights.items())


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_any_batch(bundle: Path, batch: int) -> None:
    step = Step(Bundle(bundle))
    assert run(step, photographs(batch)).is_finite and step.state_is_finite


def test_kept_bytes_follow_what_is_on(bundle: Path) -> None:
    """All on, three tenths of the channels, rounded up, of what tent keeps; off, the masks are left."""
    manifest = Bundle(bundle).manifest
    nothing = [0] * len(manifest.layers)
    for facts in (manifest.step, manifest.native):
        assert facts is not None
        most = step_bytes(manifest, facts, 64, np.zeros(len(nothing), np.float32))
        elements = 4 * 64 * sum(layer.elements_per_sample for layer in manifest.layers)
        masks = kept_bytes(manifest, facts, 64, nothing)
        assert 0.30 * elements < most - masks < 0.33 * elements
        assert masks < 0.04 * elements


def test_other_keys_keep_other_channels(bundle: Path) -> None:
    images, outcomes = photographs(16), []
    for seed in (0, 0, 1):
        step = Step(Bundle(bundle))
        run(step, images, seed)
        outcomes.append(step.state["layer1.0.bn1.weight"].copy())
    np.testing.assert_array_equal(outcomes[0], outcomes[1])
    assert (outcomes[0] != outcomes[2]).any()


@pytest.mark.parametrize(
    ("chosen", "error", "complaint"),
    [
        ({"prune": "surgeon"}, UsageError, "--prune: method mecta itself decides"),
        ({"values": "fp16"}, UsageError, "--values fp16: method mecta keeps channels as they are"),
        ({"model": "vit_b_16", "weights": "none"}, ModelError, "mecta trains batchnorm layers, and vit_b_16 has none"),
    ],
)
def test_what_it_cannot_do_is_refused(
    chosen: dict[str, str], error: type[ToolchainError], complaint: str, tmp_path: Path
) -> None:
    request = {"model": "cifar_resnet20", "target": "host", "method": "mecta", "output": tmp_path / "bundle", **chosen}
    with pytest.raises(error, match=complaint):
        build(Request(**request))  # type: ignore[arg-type]
    assert not (tmp_path / "bundle").exists()


def test_it_adapts_without_torch(bundle: Path, on_device: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", photographs(48))
    state = ("--state", str(tmp_path / "state"), "--images", str(tmp_path / "images.npy"), "--batch", "16")
    done = on_device(bundle, "adapt", *state, "--json")
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(result["predictions"]) for result in results] == [16] * 3
    assert all(0 < result["kept_bytes"] < 0.4 * result["dense_bytes"] for result in results)
    refused = on_device(bundle, "adapt", *state, "--prune-ratio", "0.5")
    assert refused.returncode == 2 and "itself decides what its layers keep" in refused.stderr
    assert on_device(bundle, "selftest").returncode == 0
