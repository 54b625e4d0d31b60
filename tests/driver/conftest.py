"""Bundles to run tests on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.driver.tiny_bundle import make_bundle, random_images


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes, and that has no state."""
    return make_bundle(tmp_path_factory.mktemp("shipped") / "tiny")


@pytest.fixture
def bundle(shipped: Path, tmp_path: Path) -> Path:
    """A bundle of the test's own."""
    return Path(shutil.copytree(shipped, tmp_path / "tiny"))


@pytest.fixture
def ten_images(tmp_path: Path) -> Path:
    """A .npy file with ten random images."""
    path = tmp_path / "ten.npy"
    np.save(path, random_images(10))
    return path
