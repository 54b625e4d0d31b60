"""Every supported model through the parser and the builder of TensorRT for RTX 1.7, which run without a GPU.

They are real, and they are not TensorRT 8.5: what that one parses is a table of targets/.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from targets import load_target, target_names
from tests.driver.tiny_bundle import ROOT
from toolchain.artifacts import Exported
from toolchain.driver.onnx_file import float_initializers
from toolchain.models.registry import OWN, load_model
from toolchain.stages.export import export
from toolchain.stages.trace import trace

PYTHON = ROOT / ".venv/tensorrt/bin/python"
TORCHVISION = {"resnet18": 64, "resnet50": 64, "mobilenet_v2": 64, "wide_resnet50_2": 64, "vit_b_16": 224}
MODELS = {**{name: OWN[name].image_size for name in OWN if not name.endswith("_cifar100")}, **TORCHVISION}
"""Each architecture, and the side of the images that it is traced for."""

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="`make tensorrt` installs TensorRT for RTX")

Examine = Callable[[onnx.ModelProto], Any]


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """What the parser and the builder say to a model; see tests.tensorrt.real_parser."""

    def run(model: onnx.ModelProto) -> Any:
        onnx.save(model, tmp_path / "model.onnx")
        names = json.dumps([tensor.name for tensor in model.graph.initializer])
        done = subprocess.run(
            [str(PYTHON), "-m", "tests.tensorrt.real_parser", str(tmp_path / "model.onnx"), "8"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=names,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def exported(model: str) -> Exported:
    """The inference model of the target with the oldest TensorRT, with seeded weights."""
    return export(trace(load_model(model, "none", MODELS[model])), load_target("xavier-nx"))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_model_parses_builds_and_can_be_refitted(examine: Examine, model: str) -> None:
    inference = exported(model)
    found = examine(inference.infer)
    assert "error" not in found, found
    table, known = {entry.name for entry in inference.refit}, set(found["refittable"])
    assert table <= known, "a weight of the refit table is none of the engine's"
    floats = {tensor.name for tensor in inference.infer.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    settable = table | float_initializers(inference.infer.SerializeToString()).keys()
    assert known & floats <= settable, "a weight of the engine could not be set; integers are shapes and indices"
    assert found["plan_bytes"] > sum(np.prod(entry.shape, dtype=int) for entry in inference.refit)


def test_what_each_target_gets_parses(examine: Examine) -> None:
    """Targets differ in the opset that they read."""
    traced = trace(load_model("cifar_resnet20", "none"))
    opsets = set()
    for target in map(load_target, target_names()):
        inference = export(traced, target)
        opsets.add(inference.infer.opset_import[0].version)
        found = examine(inference.infer)
        assert {entry.name for entry in inference.refit} <= set(found["refittable"]), (target.name, found)
    assert len(opsets) > 1


def test_weights_of_a_batchnorm_are_none_of_the_engines(examine: Examine) -> None:
    """The negative control, and the reason why BatchNorm is folded."""
    model = convolution_and(helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["logits"]))
    found = examine(model)
    assert found["refittable"] == ["w"] and "error" not in found


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (
            helper.make_node(
                "BatchNormalization", ["x", "g", "b", "m", "v"], ["logits", "mean", "variance"], training_mode=1
            ),
            "training_mode",
        ),
        (helper.make_node("Sparsify", ["x"], ["logits"], domain="toolchain"), "Plugin not found"),
    ],
    ids=["batchnorm-in-training-mode", "unknown-operator"],
)
def test_what_an_engine_cannot_hold_is_rejected(examine: Examine, node: onnx.NodeProto, words: str) -> None:
    assert words in examine(convolution_and(node))["error"]


def convolution_and(node: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution, and this node behind it."""
    ones = {"w": np.ones((4, 3, 1, 1)), **{name: np.ones(4) for name in "gbmv"}}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["x"]), node],
        "model",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in ones.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("toolchain", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
