"""A bundle of EcoTTA against its eager twin, and what it keeps."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.end_to_end.conftest import Build, Run
from toolchain.driver.step import Step
from toolchain.errors import UsageError
from toolchain.pipeline import Request, build
from toolchain.reference.ecotta import EcottaStep, confident_entropy
from toolchain.reference.interception import PrunedForward
from toolchain.reference.objective import Feeds, Outcome
from toolchain.reference.step import StepResult
from toolchain.verification import verify
from toolchain.verification.case import Case
from toolchain.verification.check import FLIPS, distance

SAMPLE = np.load("tests/data/cifar10_sample.npz")


@pytest.fixture(scope="module")
def bundle(built: Build, source: Path) -> Path:
    return built("cifar_resnet20", method="ecotta", source=source)


@pytest.fixture(scope="module")
def case(bundle: Path) -> Case:
    return Case.load(bundle, 8, 1)


def photographs(count: int, start: int = 64) -> np.ndarray:
    """float32 [count, 3, 32, 32], noisy and normalised."""
    images = SAMPLE["images"][start : start + count].astype(np.float32) / 255
    noise = np.random.default_rng(start).normal(0, 0.08, images.shape)
    normalised = (images + noise - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)


class Entangled(EcottaStep):
    """Negative control: the distances move what is before them too."""

    def differentiate(
        self,
        images: Tensor,
        prune_ratios: Tensor | Sequence[float],
        feeds: Feeds | None = None,
        select: bool = True,
    ) -> tuple[StepResult, PrunedForward]:
        seen = []
        networks = list(self.model.get_submodule("meta_networks").children())
        hooks = [i.register_forward_hook(lambda _, inputs, x: seen.append(x - inputs[1])) for i in networks]
        logits, forward = self.forward(images, [0.0] * len(self.layers))
        for hook in hooks:
            hook.remove()
        loss = confident_entropy(logits, 0.4) + 0.5 * torch.stack([gap.abs().mean() for gap in seen]).sum()
        return self.describe(logits, Outcome(loss, None), self.gradients_of(loss), forward), forward


def moved_by(case: Case, step: EcottaStep, batches: Sequence[np.ndarray], ratio: float) -> dict[str, np.ndarray]:
    before = step.parameters()
    for images in batches:
        step.run(torch.from_numpy(images).double(), [ratio] * len(case.manifest.layers))
    return {name: (step.parameters()[name] - before[name]).numpy() for name in case.trained}


@pytest.mark.parametrize("form", ["native", "portable"])
@pytest.mark.parametrize("ratio", [0.0, 0.8])
def test_parameters_follow_the_twin(case: Case, form: str, ratio: float) -> None:
    batches = [photographs(32, start) for start in (64, 96, 128)]
    twin = case.eager(torch.float64)
    assert isinstance(twin, EcottaStep)
    step = Step(case.bundle, operators=form)
    before = {name: step.state[name].astype(np.float64) for name in case.trained}
    for images in batches:
        step.run(images, np.full(len(case.manifest.layers), ratio, np.float32), 5e-3)
    found = {name: step.state[name] - before[name] for name in case.trained}
    assert distance(found, moved_by(case, twin, batches, ratio)) < FLIPS
    if ratio == 0:
        layers = [(layer.name, layer.kind) for layer in case.manifest.layers]
        control = Entangled(case.module.double(), layers, case.trained, case.optimizer, weight=0.5)
        case.module.float()
        assert distance(found, moved_by(case, control, batches, ratio)) > 2 * FLIPS


def test_entropy_reaches_through_the_frozen_part(case: Case) -> None:
    """Without the distances the first network still learns; without the entropy something else is learnt."""
    images, ratios = torch.from_numpy(photographs(32)).double(), [0.0] * len(case.manifest.layers)
    twin = case.eager(torch.float64)
    assert isinstance(twin, EcottaStep)
    whole = twin.gradients(images, ratios).grads
    twin.weight = 0.0
    entropy = twin.gradients(images, ratios).grads
    first = "meta_networks.0.conv.weight"
    assert float(entropy[first].norm()) > 0.01 * float(whole[first].norm())


def test_verify_passes(bundle: Path) -> None:
    failed = [check for check in verify(bundle, samples=4, batches=1) if not check.passed]
    assert failed == []


def test_small_batches_lean_on_the_statistics_of_the_source(built: Build, source: Path) -> None:
    """AdaptBN: the gradients are those of the mixture, and of nothing else."""
    mixing = built("cifar_resnet20", method="ecotta", source=source, source_samples=8)
    failed = [check for check in verify(mixing, samples=4, batches=1) if not check.passed]
    assert failed == []
    case = Case.load(mixing, 1, 1)
    images, ratios = photographs(1), np.zeros(len(case.manifest.layers), np.float32)
    result = Step(case.bundle).run(images, ratios, 0.0)
    for samples in (8, 0):
        step = replace(case, method=replace(case.method, source_samples=samples)).eager(torch.float64)
        expected = step.gradients(torch.from_numpy(images).double(), torch.from_numpy(ratios))
        gap = float(np.abs(result.grad_rms - expected.grad_rms.numpy()).max() / expected.grad_rms.max())
        assert (gap < 1e-3) == (samples == 8), gap


def test_three_tensors_a_part_are_kept_and_bits(case: Case) -> None:
    """Of the frozen part nothing but masks, one bit an element, and two bits for the sign of each distance."""
    kinds = [(layer.name.rpartition(".")[2], layer.kind) for layer in case.manifest.layers]
    assert kinds == [("conv", "conv"), ("conv_norm", "batchnorm"), ("norm", "batchnorm")] * 4
    for facts in (case.manifest.step, case.manifest.native):
        assert facts is not None and len(facts.stores) == 12
        masks = [saved for saved in facts.saved if saved.kind == "mask"]
        others = sum(saved.bytes_per_sample for saved in facts.saved if saved.kind != "mask")
        assert others <= 2 * 4 * case.manifest.model.classes
        elements = sum(layer.elements_per_sample for layer in case.manifest.layers)
        assert sum(saved.bytes_per_sample for saved in masks) < elements * 4 / 8


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_any_batch_and_no_certain_sample(case: Case, batch: int) -> None:
    """Images of noise: no prediction is certain, and the distances alone are learnt."""
    images = 0.01 * np.random.default_rng(0).standard_normal((batch, 3, 32, 32)).astype(np.float32)
    ratios = np.zeros(len(case.manifest.layers), np.float32)
    twin = case.eager(torch.float64)
    expected = twin.gradients(torch.from_numpy(images).double(), torch.from_numpy(ratios))
    result = Step(case.bundle).run(images, ratios, 5e-3)
    assert result.is_finite
    np.testing.assert_allclose(result.loss, float(expected.loss), rtol=1e-4)


def test_without_source_data_the_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--source FILE.npz with x_train and y_train"):
        build(Request(model="cifar_resnet20", target="host", method="ecotta", output=tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_it_adapts_without_torch(bundle: Path, on_device: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", photographs(32))
    state = ("--state", str(tmp_path / "state"))
    done = on_device(bundle, "adapt", "--images", str(tmp_path / "images.npy"), "--batch", "16", *state, "--json")
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(result["predictions"]) for result in results] == [16, 16]
    assert 0 < results[0]["kept_bytes"] < results[0]["dense_bytes"]
    assert on_device(bundle, "selftest").returncode == 0
