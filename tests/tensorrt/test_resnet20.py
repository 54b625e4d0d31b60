"""ResNet-20 with its trained weights: what the proof of an engine notices, and live refit behind real steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from toolchain.driver.bundle import Bundle
from toolchain.driver.engine.proof import LIMITS, distance, disturbed, probe_images
from toolchain.driver.inference import InferenceModel
from toolchain.driver.predictor import Choice, open_predictor
from toolchain.driver.step import Step
from toolchain.models.registry import load_model
from toolchain.pipeline import Request, build

SAMPLE = Path("tests/data/cifar10_sample.npz")
ROUNDS = 10
LAYERS = (nn.Conv2d, nn.Linear)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the machine that builds, whose engine computes in float32."""
    folder = tmp_path_factory.mktemp("bundles") / "resnet20"
    build(Request(model="cifar_resnet20", target="host", output=folder))
    return folder


def test_names_are_those_of_the_modules(bundle: Path) -> None:
    """Each convolution and linear layer has a weight and a bias of its own, whatever was folded into them."""
    layers = load_model("cifar_resnet20").module.named_modules()
    named = {f"{name}.{part}" for name, layer in layers if isinstance(layer, LAYERS) for part in ("weight", "bias")}
    model = InferenceModel(Bundle(bundle))
    assert {entry.name for entry in model.recipe.refit} == named
    nodes = [node for node in onnx.load(model.file).graph.node if node.op_type in ("Conv", "Gemm")]
    assert {name for node in nodes for name in node.input[1:]} == named and {len(node.input) for node in nodes} == {3}


def test_every_weight_that_does_not_follow_is_noticed(bundle: Path) -> None:
    """One at a time keeps its old value; the last bias alone hides behind the rounding of half precision."""
    model = InferenceModel(Bundle(bundle))
    old, images = model.weights(None), probe_images(model)
    new = disturbed(old)

    def logits(weights: dict[str, np.ndarray]) -> np.ndarray:
        return model.session(weights, 1).run(model.facts.input, images, model.facts.output)

    expected = logits(new)
    found = {name: distance(logits({**new, name: old[name]}), expected) for name in old}
    assert len(found) == 40
    assert min(found.values()) > 5 * LIMITS["fp32"]
    assert [name for name, measured in found.items() if measured <= LIMITS["fp16"]] == ["linear.bias"]


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
def test_engine_follows_real_steps(stand_in: Callable[..., Any], bundle: Path, tmp_path: Path, version: str) -> None:
    tensorrt = stand_in(version)
    step, model = Step(Bundle(bundle), threads=1), InferenceModel(Bundle(bundle))
    predictor = open_predictor(model, None, Choice("tensorrt", "libcudart", 1, tmp_path))
    images = _images()
    before, ratios = predictor.predict(images), np.full(len(Bundle(bundle).manifest.layers), 0.5, np.float32)
    for _ in range(ROUNDS):
        step.run(images, ratios, 1e-3)
        predictor.refit(model.weights(step.state))
        expected = model.session(model.weights(step.state), 1).run(model.facts.input, images, model.facts.output)
        assert np.abs(predictor.predict(images) - expected).max() <= 1e-4
    assert np.abs(predictor.predict(images) - before).max() > 0.1
    assert predictor.engine == f"TensorRT {version} fp32" and not tensorrt.violations


def _images() -> np.ndarray:
    """Four photographs, float32 [4, 3, 32, 32]."""
    pixels = np.load(SAMPLE)["images"][:4].astype(np.float32) / 255
    normalised = (pixels - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)
