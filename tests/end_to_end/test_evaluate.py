"""Bundles on corrupted photographs: `evaluate` as a user calls it, beside its twin in eager PyTorch."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.conftest import DEVICE_PYTHON, Build, Run
from tests.evaluation.test_data import save_image
from toolchain.corruptions import corrupt
from toolchain.errors import ToolchainError
from toolchain.evaluation.evaluate import Shown, evaluate
from toolchain.evaluation.settings import Settings

BATCH, IMAGES, RATE = 32, 64, 1e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of CIFAR-10 that the tests have."""
    sample = np.load("tests/data/cifar10_sample.npz")
    path = tmp_path_factory.mktemp("data") / "photographs.npz"
    np.savez(path, x_test=sample["images"], y_test=sample["labels"])
    return path


def shown(data: Path, **chosen: Any) -> Shown:
    return Shown(data, **{"corruptions": ("contrast", "fog"), "images": IMAGES, "batch": BATCH, **chosen})


def test_bundle_and_eager_twin_err_alike(cifar: Path, data: Path) -> None:
    settings = Settings(learning_rate=RATE, eager=True, python=str(DEVICE_PYTHON))
    found = evaluate(cifar, shown(data), settings)
    assert [row["corruption"] for row in found["rows"]] == ["contrast", "fog"]
    for row in found["rows"]:
        assert abs(row["error"] - row["eager_error"]) <= 100 / IMAGES, "one image"
        assert row["error"] < 35, "unadapted, two of three are wrong under contrast"
    assert found["mean_error"] == np.mean([row["error"] for row in found["rows"]])
    assert 0 < found["kept_bytes"] < found["dense_bytes"]
    assert found["peak_step_bytes"] > found["kept_bytes"]


def test_every_format_gives_the_same_error(built: Build, data: Path, tmp_path: Path) -> None:
    """The same photographs under contrast, which leaves nothing to chance: as arrays, as published, and in folders."""
    content = np.load(data)
    clean, labels = content["x_test"][:IMAGES], content["y_test"][:IMAGES]
    corrupted = [corrupt(clean, "contrast", severity) for severity in range(1, 6)]
    (tmp_path / "cifar").mkdir()
    np.save(tmp_path / "cifar/labels.npy", np.tile(labels, 5))
    np.save(tmp_path / "cifar/contrast.npy", np.concatenate(corrupted))
    for number, label in enumerate(labels):
        save_image(tmp_path / f"clean/{label}/{number}.png", clean[number])
        save_image(tmp_path / f"imagenet/blur/contrast/5/{label}/{number}.png", corrupted[4][number])
    bundle = built("cifar_resnet20", method="source")
    places = [data, tmp_path / "cifar", tmp_path / "clean", tmp_path / "imagenet"]
    found = [evaluate(bundle, shown(place, corruptions=("contrast",)), Settings()) for place in places]
    assert len({document["mean_error"] for document in found}) == 1 and found[0]["mean_error"] > 50


@pytest.mark.parametrize("method", ["source", "cotta"])
def test_twin_is_that_of_the_method(built: Build, data: Path, method: str) -> None:
    """CoTTA leaves much to chance: augmentations, and which weights are restored."""
    bundle = built("cifar_resnet20", method=method)
    found = evaluate(bundle, shown(data, corruptions=("contrast",), images=32, batch=16), Settings(eager=True))
    assert found["differing_predictions"] <= 1 / 32, "one image"
    assert (found["mean_error"] > 50) == (method == "source"), "the method has its effect"


def test_twin_of_another_method_differs(cifar: Path, data: Path) -> None:
    pruned = evaluate(cifar, shown(data), Settings(prune_ratio="1", learning_rate=1e-2, eager=True))
    assert pruned["differing_predictions"] < 0.05
    dense = evaluate(cifar, shown(data), Settings(prune_ratio="0", learning_rate=1e-2))
    assert [row["error"] for row in dense["rows"]] != [row["error"] for row in pruned["rows"]]


def test_reset_forgets_and_continual_does_not(cifar: Path, data: Path) -> None:
    settings = Settings(prune_ratio="0", learning_rate=3e-3)
    alone = evaluate(cifar, shown(data, corruptions=("fog",)), settings)
    reset, continual = (evaluate(cifar, shown(data, order=order), settings) for order in ("reset", "continual"))
    assert reset["rows"][1]["error"] == alone["rows"][0]["error"] != continual["rows"][1]["error"]


def test_same_seed_same_figures(cifar: Path, data: Path) -> None:
    first, second = (evaluate(cifar, shown(data, order="mixed", rounds=2), Settings(seed=3)) for _ in range(2))
    assert first["rows"] == second["rows"] and len(first["error_of_round"]) == 2


def test_command_writes_what_it_prints(cifar: Path, data: Path, toolchain: Run, tmp_path: Path) -> None:
    chosen = ["--corruptions", "contrast,clean", "--images", "64", "--batch", "32", "--rounds", "2", "--json"]
    done = toolchain("evaluate", str(cifar), "--data", str(data), *chosen, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "out/evaluation.json").read_text())
    assert {"corruption", "severity", "error"} <= set(found["rows"][0]) and "mean_error" in found
    assert (found["bundle"], found["data"]) == (cifar.name, data.name)
    rows = list(csv.DictReader((tmp_path / "out/evaluation.csv").read_text().splitlines()))
    assert [float(row["error"]) for row in rows] == [row["error"] for row in found["rows"]]
    for picture in ("corruptions.svg", "rounds.svg"):
        assert (tmp_path / "out" / picture).read_text().lstrip().startswith("<?xml")


def test_what_the_driver_refuses_is_passed_on(cifar: Path, data: Path) -> None:
    with pytest.raises(ToolchainError, match=r"driver stopped: .*budget"):
        evaluate(cifar, shown(data), Settings(budget=1000))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--corruptions", "rain"], "no corruption 'rain'"),
        (["--corruptions", ""], "--corruptions names none"),
        (["--severity", "6"], "no severity 6"),
        (["--output", "pyproject.toml/out"], "pyproject.toml/out cannot be written"),
        (["--against", "eager", "--budget", "10MiB"], "does not go with --budget"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    cifar: Path, data: Path, toolchain: Run, arguments: list[str], words: str
) -> None:
    done = toolchain("evaluate", str(cifar), "--data", str(data), *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
