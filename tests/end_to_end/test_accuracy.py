"""The error of the adapted bundle on corrupted photographs; benchmarks.accuracy measures it on thousands."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.accuracy import Stream, run_bundle, run_eager, streams
from tests.end_to_end.conftest import DEVICE_PYTHON
from toolchain.driver.manifest import read_manifest
from toolchain.reference.surgeon import SurgeonReference
from toolchain.verification.case import Case

BATCH, IMAGES, RATE = 32, 256, 1e-4


@pytest.fixture(scope="module")
def stream(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    sample = np.load("tests/data/cifar10_sample.npz")
    data = tmp_path_factory.mktemp("data") / "cifar10.npz"
    np.savez(data, x_test=sample["images"], y_test=sample["labels"])
    return next(streams(data, read_manifest(cifar / "manifest.json"), ["contrast"], IMAGES, severity=5))


def test_bundle_and_eager_reference_err_alike(cifar: Path, stream: Stream, tmp_path: Path) -> None:
    facts, case = read_manifest(cifar / "manifest.json"), Case.load(cifar, 1, 1)
    common = ["--batch", str(BATCH), "--threads", "1", "--state"]
    source = run_bundle(str(DEVICE_PYTHON), cifar, stream, ["infer", *common, str(tmp_path / "none")])
    adapt = ["adapt", "--learning-rate", str(RATE), *common, str(tmp_path / "state")]
    adapted = run_bundle(str(DEVICE_PYTHON), cifar, stream, adapt)
    elements = torch.tensor([layer.elements_per_sample for layer in facts.layers])
    reference = SurgeonReference(case.eager(torch.float32, RATE), elements, case.method.probe)
    eager = run_eager(reference, stream, BATCH, case.method.probe.samples, seed=0)
    assert abs(stream.error(adapted) - stream.error(eager)) <= 0.4, "one image of 256"
    assert stream.error(adapted) < stream.error(source) - 20
    assert (source != eager).mean() > 0.2, "the comparison can tell models apart"
