"""Each command as a user runs it, on the device's Python."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import folder_digest, manifest, random_images, run, write_manifest
from toolchain.driver.main import main
from toolchain.driver.tensors import read_tensors

FIELDS = [
    *("step", "loss", "predictions", "kept_bytes", "dense_bytes"),
    *("predicted_peak_bytes", "prune_ratios", "seconds", "selected"),
]
STEP_CHECKS = ("logits", "loss", "grad_rms", "kept_elements", "updated/first.weight")


def results(bundle: Path, *arguments: object) -> list[Any]:
    done = run(bundle, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def newest_state(bundle: Path) -> tiny_numpy.State:
    folder = bundle.parent / f"{bundle.name}-state"
    newest = max(folder.glob("state-*"), key=lambda path: int(path.stem.split("-")[1]))
    return read_tensors(newest, sealed=True).tensors


def numpy_states(batches: list[np.ndarray], ratio: float) -> tiny_numpy.State:
    state, ratios = tiny_numpy.initial_state(), np.full(2, ratio, np.float32)
    for images in batches:
        state = tiny_numpy.step(state, images, ratios, 0.05).state
    return state


def test_selftest_passes_and_says_on_what(shipped: Path) -> None:
    (found,) = results(shipped, "selftest")
    assert found["passed"] and all(check["passed"] for check in found["checks"])
    names = {check["name"] for check in found["checks"]}
    assert {"infer_logits", *(f"portable: {name}" for name in STEP_CHECKS)} <= names
    assert {"file adapt/step-portable.onnx", "file driver/toolchain/driver/step.py", "file __main__.py"} <= names
    assert set(found["versions"]) == {"toolchain", "python", "numpy", "onnxruntime"} and found["platform"]


@pytest.mark.parametrize(
    "name", ["logits", "loss", "grad_rms", "kept_elements", "infer_logits", "updated/first.weight"]
)
def test_selftest_notices_another_number(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle / "reference/step.npz"
    with np.load(path) as arrays:
        recorded = dict(arrays)
    recorded[name] = recorded[name] + np.asarray(1 if name == "kept_elements" else 1e-3, recorded[name].dtype)
    np.savez(path, **recorded)
    write_manifest(bundle, manifest())
    code = main(str(bundle), ["selftest", "--json"])
    failed = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"] if not check["passed"]]
    assert code == 1 and {name, f"portable: {name}"} & set(failed)


def test_selftest_notices_a_step_that_updates_nothing(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle / "reference/step.npz"
    with np.load(path) as arrays:
        recorded = dict(arrays)
    recorded["learning_rate"][:] = 0
    recorded["tolerance"] = np.array(10.0)
    np.savez(path, **recorded)
    write_manifest(bundle, manifest())
    assert main(str(bundle), ["selftest", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["portable: direction/first.weight"]


def test_adapt_reports_saves_and_goes_on(bundle: Path, ten_images: Path) -> None:
    before = folder_digest(bundle)
    found = results(bundle, "adapt", "--images", ten_images, "--prune-ratio", "0.5")
    assert [list(line) for line in found] == [FIELDS] * 3
    assert [line["step"] for line in found] == [1, 2, 3]
    assert [len(line["predictions"]) for line in found] == [4, 4, 2]
    assert found[0]["kept_bytes"] == 4 * (96 + 32) + 24 + 8 + 8 and found[0]["dense_bytes"] == 4 * 272
    images = np.load(ten_images)
    expected = numpy_states([images[:4], images[4:8], images[8:]], 0.5)
    for name, array in newest_state(bundle).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)
    assert results(bundle, "adapt", "--images", ten_images)[0]["step"] == 4
    assert folder_digest(bundle) == before


def test_adapt_chooses_ratios_by_importance(bundle: Path, ten_images: Path) -> None:
    probed = results(bundle, "adapt", "--images", ten_images, "--no-save")
    again = results(bundle, "adapt", "--images", ten_images, "--no-save")
    other = results(bundle, "adapt", "--images", ten_images, "--no-save", "--seed", "5")
    previous = results(bundle, "adapt", "--images", ten_images, "--no-save", "--importance", "previous")
    ratios = [[line["prune_ratios"] for line in lines] for lines in (probed, again, other, previous)]
    assert ratios[0] == ratios[1] != ratios[2]
    assert ratios[3][0] == ratios[0][0] and ratios[3][1] != ratios[0][1]
    assert all(min(line) == 0 and 0 < max(line) <= 1 for line in ratios[0])
    assert not (bundle.parent / "tiny-state").exists()


def test_adapt_draws_anew_each_time_it_is_started(bundle: Path, ten_images: Path) -> None:
    """One batch a start, and a learning rate of 0: only which image the probe takes differs."""
    still = ("--images", ten_images, "--batch", 10, "--learning-rate", 0)
    kept = [results(bundle, "adapt", *still)[0]["prune_ratios"] for _ in range(4)]
    assert any(ratios != kept[0] for ratios in kept)


def test_adapt_stays_inside_a_budget(shipped: Path, ten_images: Path) -> None:
    arguments = ("--images", ten_images, "--no-save", "--prune-ratio", "0")
    dense = results(shipped, "adapt", *arguments)
    assert dense[0]["kept_bytes"] == 4 * 256 + 40
    tight = results(shipped, "adapt", *arguments, "--budget", "0.5KiB")
    assert all(500 <= line["kept_bytes"] <= 512 for line in tight[:2])
    assert tight[0]["prune_ratios"][0] == tight[0]["prune_ratios"][1]


def test_adapt_takes_a_ratio_for_each_layer(shipped: Path, ten_images: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([0.25, 1.0]))
    found = results(shipped, "adapt", "--images", ten_images, "--no-save", "--prune-ratio", tmp_path / "p.npy")
    assert found[0]["prune_ratios"] == [0.25, 1.0] and found[0]["kept_bytes"] == 4 * 144 + 40


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "images hold NaN"), (-np.inf, "images hold NaN"), (1e38, "not finite")]
)
def test_bad_batch_is_skipped_and_harms_nothing(bundle: Path, tmp_path: Path, value: float, reason: str) -> None:
    images = random_images(12)
    images[5, 1, 2, 3] = value
    np.save(tmp_path / "x.npy", images)
    done = run(bundle, "adapt", "--images", tmp_path / "x.npy", "--prune-ratio", "0.5", "--json")
    _, second, _ = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0 and "batch 2 is skipped" in done.stderr
    assert set(second) == {"step", "skipped"} and second["step"] == 2 and reason in second["skipped"]
    expected = numpy_states([images[:4], images[8:]], 0.5)
    for name, array in newest_state(bundle).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


def test_saved_every_few_batches_and_at_the_end(bundle: Path, ten_images: Path) -> None:
    results(bundle, "adapt", "--images", ten_images, "--save-every", "2")
    names = sorted(path.name for path in (bundle.parent / "tiny-state").glob("state-*"))
    assert names == ["state-1.safetensors", "state-2.safetensors"]
    assert results(bundle, "adapt", "--images", ten_images)[0]["step"] == 4


def test_foreign_state_is_refused_and_shipped_parameters_used(bundle: Path, ten_images: Path, tmp_path: Path) -> None:
    results(bundle, "adapt", "--images", ten_images, "--state", tmp_path / "s", "--learning-rate", "0.5")
    write_manifest(bundle, {**manifest(), "toolchain": "0.1.1"})
    done = run(bundle, "adapt", "--images", ten_images, "--state", tmp_path / "s", "--prune-ratio", "0.5", "--json")
    assert done.returncode == 0 and "saved by another bundle" in done.stderr and "shipped parameters" in done.stderr
    assert json.loads(done.stdout.splitlines()[0])["step"] == 1
    expected = tiny_numpy.step(tiny_numpy.initial_state(), np.load(ten_images)[:4], np.full(2, 0.5, np.float32), 0.05)
    assert json.loads(done.stdout.splitlines()[0])["loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert len(list((tmp_path / "s").glob("state-*"))) == 4


def test_infer_uses_the_adapted_weights(bundle: Path, ten_images: Path) -> None:
    images, shipped_state = np.load(ten_images), tiny_numpy.initial_state()
    (before,) = results(bundle, "infer", "--images", ten_images)
    assert before["predictions"] == tiny_numpy.infer(shipped_state, images).argmax(1).tolist()
    assert before["adapted_steps"] == 0
    results(bundle, "adapt", "--images", ten_images, "--learning-rate", "2")
    (after,) = results(bundle, "infer", "--images", ten_images, "--batch", "3")
    assert (
        after["predictions"] == tiny_numpy.infer({**shipped_state, **newest_state(bundle)}, images).argmax(1).tolist()
    )
    assert after["adapted_steps"] == 3 and after["predictions"] != before["predictions"]


def test_folder_of_images(shipped: Path, tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (9, 7), (40 * index, 0, 90)).save(tmp_path / f"{index}.png")
    assert len(results(shipped, "infer", "--images", tmp_path)[0]["predictions"]) == 3
    assert len(results(shipped, "adapt", "--images", tmp_path, "--no-save")) == 1


def test_bench_measures(shipped: Path) -> None:
    (found,) = results(shipped, "bench", "--prune-ratio", "0.5", "--batch", "64", "--steps", "2")
    figures = {"step_seconds", "cpu_seconds", "peak_step_bytes", "predicted_peak_bytes", "kept_bytes", "dense_bytes"}
    assert set(found) == {*figures, "batch"}
    assert found["kept_bytes"] == 64 * (2 * 64 + 10) and found["dense_bytes"] == 64 * 272 and found["batch"] == 64
    assert found["step_seconds"] > 0 and found["peak_step_bytes"] >= 0


@pytest.mark.parametrize("arguments", [("selftest",), ("bench", "--steps", "1"), ("infer",), ("adapt", "--no-save")])
def test_text_for_people(shipped: Path, ten_images: Path, arguments: "tuple[str, ...]") -> None:
    images = ("--images", ten_images) if arguments[0] in ("adapt", "infer") else ()
    done = run(shipped, *arguments, *images)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout and "{" not in done.stdout


@pytest.mark.parametrize("command", [(), ("adapt",), ("infer",), ("bench",), ("selftest",)])
def test_help_of_each_command(shipped: Path, command: "tuple[str, ...]", capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(str(shipped), [*command, "--help"])
    assert left.value.code == 0 and "usage: python3 BUNDLE" in capsys.readouterr().out
