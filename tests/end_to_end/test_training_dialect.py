"""The ort-training artifacts: what pruning nothing costs in accuracy is nothing, to the bit."""

from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import Build
from toolchain.driver.manifest import read_manifest
from toolchain.measurement.prepare import prepare
from toolchain.verification.dialects import run_artifacts

CASES = [
    ("cifar_resnet20", {}),
    ("resnet18", {"weights": "none", "image_size": 64}),
    ("mobilenet_v2", {"weights": "none", "image_size": 64}),
    ("resnet50", {"weights": "none"}),
]


@pytest.mark.parametrize(("model", "chosen"), CASES, ids=lambda value: str(value))
def test_unpruned_gradients_equal_dense_ones_bit_for_bit(
    built: Build, tmp_path: Path, model: str, chosen: dict[str, object]
) -> None:
    bundle = built(model, **chosen)
    prepare(bundle, tmp_path)
    side = int((tmp_path / "side").read_text())
    images = np.random.default_rng(0).standard_normal((2, 3, side, side), np.float32)
    dense = run_artifacts(tmp_path, {"images": images})
    kept = run_artifacts(bundle / "ort-training", {"images": images, "prune_ratios": _ratios(bundle, 0.0)})
    assert dense.gradients.keys() == kept.gradients.keys()
    differing = [name for name in dense.gradients if not np.array_equal(dense.gradients[name], kept.gradients[name])]
    assert not differing
    pruned = run_artifacts(bundle / "ort-training", {"images": images, "prune_ratios": _ratios(bundle, 0.5)})
    assert any(not np.array_equal(dense.gradients[name], pruned.gradients[name]) for name in dense.gradients)


def _ratios(bundle: Path, ratio: float) -> np.ndarray:
    return np.full(len(read_manifest(bundle / "manifest.json").layers), ratio, np.float32)


def test_artifacts_train_with_the_optimizer_of_the_engine(cifar: Path) -> None:
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    folder = cifar / "ort-training"
    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"), device="cpu")
    optimizer = Optimizer(str(folder / "optimizer_model.onnx"), module)
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    before = state.parameters["conv1.weight"].data.copy()
    module.train()
    module(images, _ratios(cifar, 0.5))
    optimizer.step()
    assert not np.array_equal(before, state.parameters["conv1.weight"].data)
