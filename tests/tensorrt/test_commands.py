"""The commands of a bundle on the stand-ins for TensorRT and libcudart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import random_images
from toolchain.driver.main import main

Call = Callable[..., tuple[int, list[Any]]]

VERSIONS = pytest.mark.parametrize("version", ["8.5.2", "8.6.1", "10.3.0"])


@pytest.fixture
def call(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command of the tiny bundle, with JSON: its exit code and its lines."""

    def run(command: str, *arguments: object) -> tuple[int, list[Any]]:
        state = ("--state", str(tmp_path / "state"), "--json")
        code = main(str(shipped), [command, *map(str, arguments), *state])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", random_images(10))
    return tmp_path / "images.npy"


@VERSIONS
def test_infer_predicts_with_tensorrt(stand_in: Callable[..., Any], call: Call, images: Path, version: str) -> None:
    tensorrt = stand_in(version)
    code, (found,) = call("infer", "--images", images)
    expected = tiny_numpy.infer(tiny_numpy.initial_state(), np.load(images)).argmax(axis=1).tolist()
    assert (code, found["engine"], found["predictions"]) == (0, f"TensorRT {version} fp32", expected)
    assert not tensorrt.violations


@VERSIONS
def test_run_refits_and_goes_on(stand_in: Callable[..., Any], call: Call, images: Path, version: str) -> None:
    tensorrt = stand_in(version)
    code, events = call("run", "--images", images, "--learning-rate", 3, "--prune-ratio", 0)
    assert code == 0 and events[-1]["engine"] == f"TensorRT {version} fp32"
    assert (events[-1]["frames"], events[-1]["steps"], events[-1]["refits"]) == (10, 3, 3)
    _, (engine,) = call("infer", "--images", images)
    _, (without,) = call("infer", "--images", images, "--engine", "onnxruntime")
    assert engine["predictions"] == without["predictions"] and engine["adapted_steps"] == 3
    assert not tensorrt.violations


@VERSIONS
def test_selftest_reports_the_engine(stand_in: Callable[..., Any], call: Call, version: str) -> None:
    tensorrt = stand_in(version)
    code, (found,) = call("selftest")
    assert code == 0 and found["engine_error"] is None
    assert found["versions"]["tensorrt"] == version and found["versions"]["cuda"] == "libcudart 11.4"
    assert found["versions"]["gpu"] == "Stand-in, sm_72, 6 multiprocessors"
    assert found["measured"]["engine"] == f"TensorRT {version} fp32"
    assert not tensorrt.violations


def test_selftest_fails_where_the_engine_does(stand_in: Callable[..., Any], call: Call) -> None:
    stand_in().ignored.add("second.w")
    code, (found,) = call("selftest")
    assert code == 1 and "logits differ" in found["engine_error"]
    assert [check["name"] for check in found["checks"] if not check["passed"]] == ["engine: TensorRT works"]
    assert found["measured"]["engine"].startswith("onnxruntime")
