"""Live refit against a strict stand-in for TensorRT, which computes with onnxruntime. Says nothing of the real one."""

import ctypes
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import manifest, random_images, write_manifest
from toolchain.driver.bundle import Bundle
from toolchain.driver.inference import InferenceModel
from toolchain.driver.predictor import Choice, open_predictor
from toolchain.driver.step import Step
from toolchain.errors import EngineError

ROUNDS = 1000
LIMIT = 1e-4
FAULTS = (
    *("set_named_weights", "refit_cuda_engine", "execute_async_v3", "deserialize_cuda_engine"),
    *("create_execution_context", "cudaStreamSynchronize", "cudaMemcpyAsync", "cudaHostAlloc"),
)
RATIOS = np.zeros(2, np.float32)


class Device:
    """A bundle, its step, and the predictor that follows it."""

    def __init__(self, bundle: Path, folder: Path, engine: str = "tensorrt") -> None:
        self.step = Step(Bundle(bundle), threads=1)
        self.model = InferenceModel(Bundle(bundle))
        self.predictor = open_predictor(self.model, None, Choice(engine, "libcudart", 1, folder))

    def adapt(self, images: np.ndarray) -> None:
        self.step.run(images, RATIOS, 0.01)

    def refit(self) -> None:
        self.predictor.refit(self.model.weights(self.step.state))

    def difference(self, images: np.ndarray) -> float:
        """Of the predictor's logits from those that numpy computes with the adapted parameters."""
        state = {**tiny_numpy.initial_state(), **self.step.state}
        return float(np.abs(self.predictor.predict(images) - tiny_numpy.infer(state, images)).max())


@pytest.mark.parametrize(("version", "integrated"), [("8.5.2", True), ("10.3.0", False)])
def test_a_thousand_rounds_with_faults(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path, version: str, integrated: bool
) -> None:
    tensorrt = stand_in(version, integrated)
    library = ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"])
    blocks, worst, injected, on_engine = library.standin_blocks(), 0.0, 0, 0
    device, chance = Device(shipped, tmp_path), random.Random(0)
    shipped_logits = device.predictor.predict(random_images(3))
    for index in range(ROUNDS):
        images = random_images(3, seed=index)
        device.adapt(images)
        if chance.random() < 0.1:
            _inject(tensorrt, library, chance)
            injected += 1
        device.refit()
        worst = max(worst, device.difference(images))
        on_engine += device.predictor.engine.startswith("TensorRT")
    assert worst <= LIMIT
    assert injected > 50 and ROUNDS - injected <= on_engine
    assert not tensorrt.violations
    assert np.abs(device.predictor.predict(random_images(3)) - shipped_logits).max() > 100 * LIMIT
    assert library.standin_blocks() <= blocks + 8, "engines that were thrown away gave their memory back"


def _inject(tensorrt: Any, library: Any, chance: random.Random) -> None:
    """One fault at a time, in place of one that has not struck."""
    name = chance.choice(FAULTS)
    tensorrt.faults.clear()
    library.standin_fail(b"", 0, 0)
    if name.startswith("cuda"):
        library.standin_fail(name.encode(), chance.randrange(3), 719)
    else:
        tensorrt.faults[name] = 1


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
@pytest.mark.parametrize("faults", [0, 20])
def test_predictions_go_on_during_refits(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path, version: str, faults: int
) -> None:
    """Every prediction is that of the weights before the refit or of those after it, also where engines fail."""
    tensorrt, images, chance = stand_in(version), random_images(2), random.Random(0)
    device, library = Device(shipped, tmp_path), ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"])
    expected, found = [device.predictor.predict(images)], []
    done = threading.Event()

    def refit_often() -> None:
        for index in range(100):
            if index % 5 < faults / 20:
                _inject(tensorrt, library, chance)
            device.adapt(images)
            expected.append(tiny_numpy.infer({**tiny_numpy.initial_state(), **device.step.state}, images))
            device.refit()
        done.set()

    thread = threading.Thread(target=refit_often)
    thread.start()
    while not done.is_set():
        before = len(expected)
        logits = device.predictor.predict(images)
        found.append(any(np.abs(logits - known).max() < LIMIT for known in expected[max(before - 2, 0) :]))
    thread.join()
    assert len(found) > 100 and all(found)
    assert not tensorrt.violations


@pytest.mark.parametrize("weight", ["first.w", "first.b", "second.w"])
def test_engine_that_keeps_an_old_weight_is_refused(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path, weight: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tensorrt = stand_in()
    tensorrt.ignored.add(weight)
    device = Device(shipped, tmp_path, "auto")
    assert device.predictor.engine.startswith("onnxruntime")
    assert "logits differ" in capsys.readouterr().err
    device.adapt(random_images(3))
    device.refit()
    assert device.difference(random_images(3)) <= LIMIT


def test_engine_asked_for_by_name_is_not_replaced(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    stand_in().ignored.add("first.b")
    with pytest.raises(EngineError, match="logits differ"):
        Device(shipped, tmp_path, "tensorrt")


def test_tensorrt_without_tensor_names_is_refused(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    stand_in("8.2.1")
    with pytest.raises(EngineError, match=r"8\.2\.1 is too old"):
        Device(shipped, tmp_path)


def test_after_three_failures_in_succession_onnxruntime_stays(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path
) -> None:
    tensorrt = stand_in()
    device = Device(shipped, tmp_path)
    tensorrt.faults["refit_cuda_engine"] = 3
    for _ in range(3):
        device.adapt(random_images(3))
        device.refit()
        assert device.predictor.engine.startswith("onnxruntime")
        assert device.difference(random_images(3)) <= LIMIT


def test_weights_that_the_recipe_lacks_are_named(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    stand_in()
    device = Device(shipped, tmp_path)
    some = {name: array for name, array in device.model.weights(None).items() if name != "first.b"}
    live: Any = device.predictor
    with pytest.raises(EngineError, match=r"lacks weights of the engine: first\.b"):
        live._slots[0].engine.refit(some, {})


def test_batches_larger_than_the_engine_takes_are_split(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path
) -> None:
    stand_in()
    device, images = Device(shipped, tmp_path), random_images(11)
    assert device.predictor.predict(images).shape == (11, 5)
    assert device.difference(images) <= LIMIT


def test_where_half_precision_fails_float32_is_tried(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both plans are kept, so that the next start builds neither."""
    bundle = Path(shutil.copytree(shipped, tmp_path / "half"))
    recipe = json.loads((bundle / "infer/tensorrt.json").read_text())
    (bundle / "infer/tensorrt.json").write_text(json.dumps({**recipe, "precision": "fp16"}))
    write_manifest(bundle, manifest())
    tensorrt = stand_in()
    assert Device(bundle, tmp_path / "state").predictor.engine == "TensorRT 8.5.2 fp16"
    tensorrt.broken.add(tensorrt.BuilderFlag.FP16)
    for _ in range(2):
        assert Device(bundle, tmp_path / "state").predictor.engine == "TensorRT 8.5.2 fp32"
        assert "computing in float32 instead of fp16" in capsys.readouterr().err
    assert len(tensorrt.builds) == 2
