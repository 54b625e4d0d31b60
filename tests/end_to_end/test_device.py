"""Bundles on a machine without torch."""

import json
import random
import shutil
import subprocess
import time
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from tests.end_to_end.conftest import DEVICE_PYTHON, Build, Run

SAMPLE = Path("tests/data/cifar10_sample.npz")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 real images, preprocessed."""
    pixels = np.load(SAMPLE)["images"][:64].astype(np.float32) / 255
    normalised = (pixels - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    path = tmp_path_factory.mktemp("images") / "cifar.npy"
    np.save(path, np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32))
    return path


def test_device_environment_has_no_torch() -> None:
    found = subprocess.run([str(DEVICE_PYTHON), "-c", "import torch"], capture_output=True, check=False)
    assert found.returncode != 0


def test_selftest_passes_in_a_copied_bundle(cifar: Path, tmp_path: Path, on_device: Run) -> None:
    copy = shutil.copytree(cifar, tmp_path / "elsewhere")
    done = on_device(copy, "selftest", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["passed"]


def test_selftest_notices_another_model(cifar: Path, tmp_path: Path, on_device: Run) -> None:
    """The negative control: one altered weight, its SHA-256 mended."""
    from toolchain.driver.bundle import PARAMETERS
    from toolchain.driver.manifest import read_manifest
    from toolchain.driver.tensors import read_tensors, write_tensors
    from toolchain.stages.bundle import seal

    copy = Path(shutil.copytree(cifar, tmp_path / "altered"))
    tensors = {name: array.copy() for name, array in read_tensors(copy / PARAMETERS).tensors.items()}
    tensors["linear.weight"] *= 1.2
    write_tensors(copy / PARAMETERS, tensors, {})
    seal(copy, read_manifest(copy / "manifest.json"))
    done = on_device(copy, "selftest", "--json")
    assert done.returncode == 1
    failed = {check["name"] for check in json.loads(done.stdout)["checks"] if not check["passed"]}
    assert "portable: logits" in failed


def test_adapt_reports_every_batch(cifar: Path, images: Path, tmp_path: Path, on_device: Run) -> None:
    arguments = ("--images", str(images), "--batch", "24", "--state", str(tmp_path / "state"), "--json")
    done = on_device(cifar, "adapt", *arguments)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["predictions"]) for row in rows] == [24, 24, 16]
    fields = {"step", "loss", "predictions", "kept_bytes", "dense_bytes", "prune_ratios", "seconds"}
    assert all(fields <= row.keys() for row in rows)
    assert all(row["kept_bytes"] < row["dense_bytes"] for row in rows)


@pytest.mark.parametrize("batch", [1, 3])
def test_small_batches_adapt(cifar: Path, images: Path, tmp_path: Path, on_device: Run, batch: int) -> None:
    few = tmp_path / "few.npy"
    np.save(few, np.load(images)[: 2 * batch])
    state = ("--state", str(tmp_path / "state"))
    done = on_device(cifar, "adapt", "--images", str(few), "--batch", str(batch), *state, "--json")
    assert done.returncode == 0, done.stderr
    assert all(np.isfinite(json.loads(line)["loss"]) for line in done.stdout.splitlines())


def test_infer_follows_the_adapted_state(cifar: Path, images: Path, tmp_path: Path, on_device: Run) -> None:
    state = ("--state", str(tmp_path / "state"))
    shipped = json.loads(on_device(cifar, "infer", "--images", str(images), *state, "--json").stdout)
    adapted = on_device(cifar, "adapt", "--images", str(images), "--learning-rate", "0.01", *state)
    assert adapted.returncode == 0, adapted.stderr
    after = json.loads(on_device(cifar, "infer", "--images", str(images), *state, "--json").stdout)
    assert after["adapted_steps"] > 0
    assert shipped["predictions"] != after["predictions"]


def test_killed_adaptation_resumes_from_a_whole_state(cifar: Path, images: Path, tmp_path: Path) -> None:
    """SIGKILL at twenty random moments; every later start finds a whole state, and the steps go on."""
    state, chance, steps = tmp_path / "state", random.Random(0), [0]
    command = [str(DEVICE_PYTHON), "-I", str(cifar), "adapt", "--images", str(images), "--batch", "8"]
    for _ in range(20):
        process = subprocess.Popen([*command, "--state", str(state), "--json"], stdout=PIPE, stderr=PIPE, text=True)
        time.sleep(chance.uniform(0.2, 2.5))
        process.kill()
        out, err = process.communicate()
        assert "refused" not in err, err
        whole = [json.loads(line) for line in out.splitlines() if line.endswith("}")]
        if whole:
            assert whole[0]["step"] >= steps[-1], "a later start lost steps that had been saved"
            steps.append(whole[-1]["step"])
    assert steps[-1] > 8, f"too few steps survived: {steps}"


def test_batchnorm_only_saves_no_conv_input(built: Build) -> None:
    from toolchain.driver.manifest import read_manifest

    facts = read_manifest(built("cifar_resnet20", train="bn") / "manifest.json")
    assert {layer.kind for layer in facts.layers} == {"batchnorm"}
    full = read_manifest(built("cifar_resnet20") / "manifest.json")
    convolutions = {layer.name for layer in full.layers if layer.kind == "conv"}
    assert convolutions, "the full bundle prunes convolution inputs"
    masks = [saved for saved in facts.step.saved if saved.bytes_per_sample > 4096]
    assert all(saved.kind == "mask" for saved in masks)
    assert sum(layer.elements_per_sample for layer in facts.layers) * 4 < 0.6 * full.dense_saved_bytes_per_sample
