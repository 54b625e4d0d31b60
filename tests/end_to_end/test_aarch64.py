"""A whole bundle on an emulated aarch64 machine with the C library of JetPack 5, against this machine.

`make test-aarch64` runs it, with TOOLCHAIN_AARCH64 naming the folder of the device's Python packages. What the speed of
a real board is, it cannot say.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.conftest import Run
from tests.tensorrt.compiler import CUDART, compile_library
from toolchain.driver.manifest import read_manifest
from toolchain.driver.tensors import read_tensors

PACKAGES = os.environ.get("TOOLCHAIN_AARCH64")
DEBIAN = Path("build/debian").absolute()
ROOT = DEBIAN / "bullseye-arm64"
pytestmark = pytest.mark.skipif(PACKAGES is None, reason="takes minutes on an emulated machine: `make test-aarch64`")

LIMIT = 1e-4
"""Relative to the largest magnitude of a tensor."""
RECORDED = ("logits", "loss", "grad_rms", "kept_elements")
BATCH = 8


CUDA = """
import ctypes, os, sys
sys.path.insert(0, {driver!r})
os.environ.update(TOOLCHAIN_LIBCUDART={library!r}, CUDART_INTEGRATED="0")
from toolchain.driver.engine.cuda import open_cuda
cuda = open_cuda("libcudart")
buffer = cuda.buffer(7)
buffer.array[:] = range(7)
cuda.upload(buffer, 7)
cuda.synchronize()
print(cuda.device, sum((ctypes.c_float * 7).from_address(buffer.address)))
"""


@dataclass(frozen=True)
class Adapted:
    """What a machine made of the same bundle and images: lines of adapt and infer, and the state it saved."""

    rows: list[dict[str, Any]]
    inferred: dict[str, Any]
    state: Mapping[str, np.ndarray] = field(repr=False)


def emulated(bundle: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """As `on_device`, on the other kind of machine."""
    settings = ("-E", f"PYTHONPATH={PACKAGES}", "-E", "PYTHONDONTWRITEBYTECODE=1")
    machine = (str(DEBIAN / "usr/bin/qemu-aarch64"), "-L", str(ROOT), *settings, str(ROOT / "usr/bin/python3.9"))
    command = [*machine, str(bundle), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def adapted(run: Run, bundle: Path, images: Path, folder: Path) -> Adapted:
    state = folder / "state"
    chosen = ("--images", str(images), "--batch", str(BATCH), "--state", str(state), "--json")
    rows = [json.loads(line) for line in succeeded(run(bundle, "adapt", *chosen)).splitlines()]
    inferred = json.loads(succeeded(run(bundle, "infer", *chosen)))
    newest = max(state.glob("state-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
    return Adapted(rows, inferred, read_tensors(newest).tensors)


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def difference(found: Any, expected: Any) -> float:
    """Largest, relative to the largest expected magnitude."""
    expected = np.asarray(expected, np.float64)
    scale = np.abs(expected).max(initial=0)
    return float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0) / (scale or 1))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches of real images, preprocessed."""
    pixels = np.load("tests/data/cifar10_sample.npz")["images"][: 2 * BATCH].astype(np.float32) / 255
    normalised = (pixels - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    path = tmp_path_factory.mktemp("images") / "cifar.npy"
    np.save(path, np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32))
    return path


@pytest.fixture(scope="module")
def both(
    cifar: Path, images: Path, on_device: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Adapted, Adapted]]:
    """On aarch64, and here."""
    runs: tuple[Callable[..., Any], ...] = (emulated, on_device)
    there, here = (adapted(run, cifar, images, tmp_path_factory.mktemp("machine")) for run in runs)
    yield there, here


def test_the_machine_is_what_it_is_to_stand_for() -> None:
    words = "import platform, numpy, onnxruntime as o; print(platform.machine(), *platform.libc_ver(), o.__version__)"
    assert succeeded(emulated(Path("-c"), words)).split() == ["aarch64", "glibc", "2.31", "1.19.2"]


def test_adaptation_gives_the_same(both: tuple[Adapted, Adapted], cifar: Path) -> None:
    there, here = both
    assert len(there.rows) == len(here.rows) == 2
    for found, expected in zip(there.rows, here.rows, strict=True):
        assert found["predictions"] == expected["predictions"]
        assert max(difference(found[name], expected[name]) for name in ("loss", "prune_ratios", "kept_bytes")) <= LIMIT
    assert worst(there, here, cifar) <= LIMIT
    assert there.inferred["predictions"] == here.inferred["predictions"]
    assert there.inferred["adapted_steps"] == 2


def test_the_comparison_notices_a_change(both: tuple[Adapted, Adapted], cifar: Path) -> None:
    """The negative control: one element of one parameter."""
    there, here = both
    weight = there.state["linear.weight"].copy()
    weight.flat[0] += 1e-3 * np.abs(weight).max()
    assert worst(Adapted(there.rows, there.inferred, {**there.state, "linear.weight": weight}), here, cifar) > LIMIT


def worst(there: Adapted, here: Adapted, bundle: Path) -> float:
    """Of the parameters and the running statistics."""
    names = [tensor.name for tensor in read_manifest(bundle / "manifest.json").step.inputs_of("parameter", "statistic")]
    moved = [name for name in names if name in here.state]
    assert moved
    return max(difference(there.state[name], here.state[name]) for name in moved)


def test_run_predicts_every_frame_and_refits(cifar: Path, images: Path) -> None:
    chosen = ("--batch", str(BATCH), "--prune-ratio", "0.9", "--every", "2", "--no-save", "--json")
    done = emulated(cifar, "run", "--images", str(images), *chosen)
    *_, summary = (json.loads(line) for line in succeeded(done).splitlines())
    assert (summary["frames"], summary["dropped"], summary["steps"], summary["refits"]) == (2 * BATCH, 0, 2, 1)


def test_arguments_of_cuda_are_marshalled(cifar: Path, tmp_path: Path) -> None:
    """On the C stand-in for libcudart, compiled for that machine."""
    library = compile_library(CUDART, tmp_path / "libcudart.so", "-target", "aarch64-linux-gnu.2.31", "-lpthread")
    words = CUDA.format(driver=str(cifar / "driver"), library=str(library))
    assert succeeded(emulated(Path("-c"), words)).split() == ["Stand-in,", "sm_72,", "6", "multiprocessors", "21.0"]


def test_selftest_passes_with_native_kernels(cifar: Path) -> None:
    report = json.loads(succeeded(emulated(cifar, "selftest", "--json")))
    assert report["passed"]
    measured = {check["name"]: check["measured"] for check in report["checks"]}
    for form in ("native", "portable"):
        assert max(measured[f"{form}: {name}"] for name in RECORDED) <= LIMIT
    assert measured["infer_logits"] <= LIMIT
