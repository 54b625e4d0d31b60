"""The measured peak of every method's steps, the first one included, is the predicted one."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.budget import LIMIT
from tests.end_to_end.conftest import Build, Run
from tests.end_to_end.test_methods import photographs
from toolchain.methods import METHODS

BATCH, STEPS = 64, 2
SOURCED = ("eata", "ecotta")

READ = 1 << 20
"""Bytes by which the first step's peak may be off: the pages of programs that are read after it."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, photographs(BATCH * STEPS))
    return path


def peaks(on_device: Run, bundle: Path, images: Path, batch: int) -> list[tuple[int, int]]:
    """Predicted and measured, of each batch in a fresh process."""
    chosen = ("--batch", str(batch), "--threads", "1", "--no-save", "--measure", "--json")
    done = on_device(bundle, "adapt", "--images", str(images), *chosen)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [(row["predicted_peak_bytes"], row["peak_step_bytes"]) for row in rows]


@pytest.mark.parametrize("method", METHODS)
def test_measured_peak_is_the_predicted_one(
    built: Build, on_device: Run, source: Path, images: Path, method: str
) -> None:
    bundle = built("cifar_resnet20", method=method, **({"source": source} if method in SOURCED else {}))
    found = peaks(on_device, bundle, images, BATCH)
    assert len(found) == STEPS
    for step, (predicted, measured) in enumerate(found):
        assert measured == pytest.approx(predicted, rel=LIMIT, abs=READ if step == 0 else 0), found


def test_peak_of_fewer_images_is_another(built: Build, on_device: Run, images: Path) -> None:
    """The negative control."""
    bundle = built("cifar_resnet20", method="tent")
    predicted = peaks(on_device, bundle, images, BATCH)[0][0]
    assert all(measured < (1 - LIMIT) * predicted for _, measured in peaks(on_device, bundle, images, BATCH - 8))
