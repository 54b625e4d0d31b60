"""Real bundles, each built once, and the environment of a device."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from toolchain.pipeline import Request, build

DEVICE_PYTHON = Path(os.environ.get("TOOLCHAIN_DEVICE_PYTHON", ".venv/device/bin/python")).absolute()
SHIPPED = Path("toolchain/models/weights/cifar_resnet20.safetensors")

Build = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds a bundle, or hands out the one that was built with the same arguments before."""
    known: dict[tuple[object, ...], Path] = {}

    def build_once(model: str, **chosen: object) -> Path:
        key = (model, *sorted(chosen.items(), key=str))
        if key not in known:
            folder = tmp_path_factory.mktemp("bundles") / f"bundle-{len(known)}"
            request = {"target": "xavier-nx", "output": folder, **chosen}
            build(Request(model=model, **request))  # type: ignore[arg-type]
            known[key] = folder
        return known[key]

    return build_once


@pytest.fixture(scope="session")
def cifar(built: Build) -> Path:
    """ResNet-20 with its trained weights: small, real, quick."""
    return built("cifar_resnet20")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images for methods that learn from some while a bundle is built."""
    sample = np.load("tests/data/cifar10_sample.npz")
    path = tmp_path_factory.mktemp("source") / "source.npz"
    np.savez(path, x_train=sample["images"][:64], y_train=sample["labels"][:64])
    return path


@pytest.fixture(scope="session")
def on_device() -> Run:
    """Runs a bundle in the environment without torch, isolated from this one."""

    def run(bundle: Path, *arguments: str, isolated: Sequence[str] = ("-I",)) -> "subprocess.CompletedProcess[str]":
        command = [str(DEVICE_PYTHON), *isolated, str(bundle), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    return run


@pytest.fixture(scope="session")
def toolchain() -> Run:
    """Runs the host's command line in a process of its own."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "toolchain", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)

    return run
