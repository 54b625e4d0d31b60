"""The step in native kernels, in real bundles: what it computes, what it needs, and where it does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import Build, Run
from toolchain.driver.bundle import Bundle, file_facts
from toolchain.driver.manifest import read_manifest
from toolchain.driver.step import NATIVE, PLATFORM, PORTABLE, Step, StepResult
from toolchain.verification.check import FLIPS

pytestmark = pytest.mark.skipif(PLATFORM not in ("linux-x86_64", "linux-aarch64"), reason="no kernels for this machine")

CASES = [
    ("cifar_resnet20", {}),
    ("cifar_resnet20", {"train": "bn"}),
    ("cifar_resnet20", {"values": "fp16"}),
    ("resnet50", {"weights": "none", "image_size": 64}),
    ("mobilenet_v2", {"weights": "none", "image_size": 64}),
]
SAMPLES = 8


def images(bundle: Path, seed: int = 0) -> np.ndarray:
    side = read_manifest(bundle / "manifest.json").model.image_size
    return np.random.default_rng(seed).standard_normal((SAMPLES, 3, side, side), np.float32)


def ratios(bundle: Path, ratio: float) -> np.ndarray:
    return np.full(len(read_manifest(bundle / "manifest.json").layers), ratio, np.float32)


def gradients(step: Step, bundle: Path, ratio: float) -> tuple[StepResult, np.ndarray]:
    """The result of one step from the shipped state, and all first moments, which hold a tenth of the gradients."""
    step.restore(None)
    result = step.run(images(bundle), ratios(bundle, ratio), 1e-5)
    moments = [array.reshape(-1) for name, array in sorted(step.state.items()) if name.endswith(".moment1")]
    return result, np.concatenate(moments)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("model", "chosen"), CASES, ids=lambda value: str(value))
def test_both_forms_compute_the_same(built: Build, model: str, chosen: dict[str, object]) -> None:
    bundle = built(model, **chosen)
    native, portable = (Step(Bundle(bundle), 1, form) for form in (NATIVE, PORTABLE))
    for ratio in (0.0, 0.6, 0.9):
        (result, moments), (other, expected) = (gradients(step, bundle, ratio) for step in (native, portable))
        assert distance(result.logits, other.logits) < 1e-4
        assert distance(moments, expected) < FLIPS
        np.testing.assert_array_equal(result.kept_elements, other.kept_elements)
        np.testing.assert_allclose(result.grad_rms, other.grad_rms, rtol=2e-2, atol=1e-6)
    assert distance(gradients(native, bundle, 0.9)[1], gradients(portable, bundle, 0.6)[1]) > 0.1


def test_threads_change_nothing(cifar: Path) -> None:
    one, two = (gradients(Step(Bundle(cifar), threads, NATIVE), cifar, 0.7)[1] for threads in (1, 2))
    assert distance(one, two) < 1e-5


def test_a_probe_changes_nothing_and_sees_what_a_step_sees(cifar: Path) -> None:
    step = Step(Bundle(cifar), 1, NATIVE)
    before = {name: array.copy() for name, array in step.state.items()}
    probed = step.probe(images(cifar), ratios(cifar, 0.9))
    assert all(np.array_equal(step.state[name], before[name]) for name in before)
    stepped = step.run(images(cifar), ratios(cifar, 0.9), 1e-4)
    np.testing.assert_array_equal(probed.grad_rms, stepped.grad_rms)
    assert any(not np.array_equal(step.state[name], before[name]) for name in before)


def test_memory_is_a_fraction_of_the_portable_form(cifar: Path, on_device: Run) -> None:
    peaks = {}
    for form in (NATIVE, PORTABLE):
        done = on_device(cifar, "bench", "--batch", "64", "--prune-ratio", "0.9", "--operators", form, "--json")
        assert done.returncode == 0, done.stderr
        peaks[form] = json.loads(done.stdout)["peak_step_bytes"]
    assert peaks[NATIVE] < 0.6 * peaks[PORTABLE]


@pytest.fixture
def elsewhere(cifar: Path, tmp_path: Path) -> Path:
    """The bundle as another platform sees it: its kernels are for machines of other kinds."""
    copy = tmp_path / "bundle"
    shutil.copytree(cifar, copy)
    content = json.loads((copy / "manifest.json").read_text())
    content["native"]["kernels"] = {"vms-vax": next(iter(content["native"]["kernels"].values()))}
    (copy / "manifest.json").write_text(json.dumps(content))
    return copy


def test_where_no_kernels_fit_the_portable_form_runs(elsewhere: Path, on_device: Run) -> None:
    done = on_device(elsewhere, "bench", "--batch", "2", "--steps", "1", "--json")
    assert done.returncode == 0, done.stderr
    refused = on_device(elsewhere, "bench", "--batch", "2", "--steps", "1", "--operators", "native")
    assert refused.returncode == 2 and "no kernels for" in refused.stderr and "Traceback" not in refused.stderr


def test_an_unusable_library_is_named(cifar: Path, tmp_path: Path, on_device: Run) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(cifar, copy)
    content = json.loads((copy / "manifest.json").read_text())
    library = copy / content["native"]["kernels"][PLATFORM]
    library.write_bytes(b"not a library")
    altered = on_device(copy, "bench", "--batch", "2", "--steps", "1")
    assert altered.returncode == 1 and library.name in altered.stderr
    content["files"] = {name: vars(facts) for name, facts in file_facts(copy).items()}
    (copy / "manifest.json").write_text(json.dumps(content))
    broken = on_device(copy, "bench", "--batch", "2", "--steps", "1", "--operators", "native")
    assert broken.returncode == 1 and "cannot be loaded" in broken.stderr and "Traceback" not in broken.stderr


def test_selftest_compares_both_forms(cifar: Path, on_device: Run) -> None:
    done = on_device(cifar, "selftest", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["passed"], done.stdout
    names = {check["name"] for check in result["checks"]}
    assert {"native: loss", "portable: loss", "native: grad_rms"} <= names
