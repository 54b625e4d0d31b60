"""Every wrong input: its exit code, its words, its JSON, and never a traceback."""

import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from tests.driver.tiny_bundle import manifest, random_images, run, write_manifest
from toolchain.driver.main import main
from toolchain.driver.manifest import FORMAT

Arguments = Callable[[Path], list[object]]


def refused(bundle: Path, arguments: list[object], code: int, kind: str, *words: str) -> None:
    """Run in this process, which is quicker; the last tests of this file start Python as a user does."""
    output, errors = StringIO(), StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        found = main(str(bundle), [*map(str, arguments), "--json"])
    check_refusal(found, output.getvalue(), errors.getvalue(), code, kind, *words)


def check_refusal(found: int, output: str, errors: str, code: int, kind: str, *words: str) -> None:
    error = json.loads(output)["error"]
    assert (found, error["kind"]) == (code, kind), errors
    assert "Traceback" not in errors and f"error: {error['message']}" in errors
    for word in words:
        assert word in error["message"]


def refused_by_device(bundle: Path, arguments: list[object], code: int, kind: str, *words: str) -> None:
    done = run(bundle, *arguments, "--json")
    check_refusal(done.returncode, done.stdout, done.stderr, code, kind, *words)


def saved(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "bad.npy", array)
    return folder / "bad.npy"


def written(folder: Path, name: str, content: bytes = b"") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing path": (lambda d: d / "nowhere", "does not exist"),
    "empty folder": (lambda d: d, "holds no .jpg"),
    "file of another kind": (lambda d: written(d, "x.txt"), "neither a folder nor a .npy"),
    "folder with a false image": (lambda d: written(d, "fake.png", b"not an image").parent, "fake.png is not an image"),
    "empty npy": (lambda d: written(d, "x.npy"), "not a readable .npy"),
    "false npy": (lambda d: written(d, "x.npy", b"hello" * 50), "not a readable .npy"),
    "pickled npy": (lambda d: saved(d, np.array([{}], object)), "not a readable .npy"),
    "no images in npy": (lambda d: saved(d, random_images(0)), "holds no image"),
    "float64": (lambda d: saved(d, random_images(2).astype(np.float64)), "float64 [2, 3, 4, 4]: expected float32"),
    "wrong size": (lambda d: saved(d, np.zeros((2, 3, 5, 4), np.float32)), "[2, 3, 5, 4]"),
    "one image without batch": (lambda d: saved(d, np.zeros((3, 4, 4), np.float32)), "[3, 4, 4]"),
    "a number": (lambda d: saved(d, np.array(1, np.float32)), "[]"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_images(shipped: Path, tmp_path: Path, case: str) -> None:
    make, words = IMAGES[case]
    refused(shipped, ["adapt", "--images", make(tmp_path), "--state", tmp_path / "s"], 1, "InputError", words)


def test_infer_refuses_images_too(shipped: Path, tmp_path: Path) -> None:
    refused(shipped, ["infer", "--images", tmp_path], 1, "InputError", "holds no .jpg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "adapt|infer|run|bench|selftest"),
        (["fly"], "invalid choice"),
        (["adapt"], "--images"),
        (["adapt", "--images", "x", "--batch", "0"], "--batch: '0' is not a whole number from 1"),
        (["adapt", "--images", "x", "--batch", "many"], "'many' is not a whole number"),
        (["adapt", "--images", "x", "--learning-rate", "nan"], "--learning-rate: 'nan' is not a number from 0"),
        (["adapt", "--images", "x", "--learning-rate", "-1"], "--learning-rate"),
        (["adapt", "--images", "x", "--budget", "lots"], "'lots' is not an amount of memory"),
        (["adapt", "--images", "x", "--importance", "guess"], "invalid choice"),
        (["adapt", "--images", "x", "--prune-ratio", "1.5"], "--prune-ratio 1.5"),
        (["adapt", "--images", "x", "--prune-ratio", "nan"], "--prune-ratio nan"),
        (["adapt", "--images", "x", "--prune-ratio", "some"], "--prune-ratio some"),
        (["bench", "--steps", "0"], "--steps"),
        (["selftest", "--threads", "-2"], "--threads"),
        (["selftest", "--colour"], "--colour"),
    ],
)  # fmt: skip
def test_usage(shipped: Path, arguments: list[object], words: str) -> None:
    refused(shipped, arguments, 2, "UsageError", words)


def test_budget_too_small(shipped: Path, ten_images: Path, tmp_path: Path) -> None:
    arguments = ["adapt", "--images", ten_images, "--budget", "39", "--state", tmp_path / "s"]
    refused(shipped, arguments, 2, "UsageError", "at least 40 bytes", "largest batch that fits is 3")


@pytest.mark.parametrize("ratios", [np.zeros(3), np.array([0.5, 1.5]), np.array([0.5, np.nan]), np.array(["a", "b"])])
def test_ratios_from_a_file(shipped: Path, ten_images: Path, tmp_path: Path, ratios: np.ndarray) -> None:
    arguments = ["adapt", "--images", ten_images, "--no-save", "--prune-ratio", saved(tmp_path, ratios)]
    refused(shipped, arguments, 1, "InputError", "expected float32 [2], each from 0 to 1")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: (b / "parameters.safetensors").unlink(), "parameters.safetensors is missing"),
        (lambda b: (b / "infer/model.onnx").write_bytes(b"short"), "infer/model.onnx has 5 bytes instead of"),
        (lambda b: flip(b / "adapt/step-portable.onnx"), "adapt/step-portable.onnx was altered"),
        (lambda b: flip(b / "parameters.safetensors"), "parameters.safetensors was altered"),
        (lambda b: (b / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda b: (b / "manifest.json").write_text('{"form'), "manifest.json cannot be read"),
        (lambda b: (b / "manifest.json").write_text("[]"), "names no bundle format"),
        (
            lambda b: write_manifest(b, {**manifest(), "format": FORMAT + 1}),
            f"has format {FORMAT + 1}, this driver reads up to {FORMAT}",
        ),
        (lambda b: write_manifest(b, {**manifest(), "batch": "8"}), "batch is str, expected int"),
        (lambda b: write_manifest(b, {**manifest(), "layers": [{"name": "x"}]}), "layers[0].kind is missing"),
        (lambda b: garble_graph(b), "cannot load"),
    ],
)
def test_damaged_bundle(bundle: Path, ten_images: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(bundle)
    refused(bundle, ["adapt", "--images", ten_images], 1, "BundleError", words)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def garble_graph(bundle: Path) -> None:
    (bundle / "adapt/step-portable.onnx").write_bytes(b"this is no graph")
    write_manifest(bundle, manifest())


def test_altered_file_fails_selftest(bundle: Path) -> None:
    flip(bundle / "infer/model.onnx")
    done = run(bundle, "selftest", "--json")
    failed = [check["name"] for check in json.loads(done.stdout)["checks"] if not check["passed"]]
    assert (done.returncode, failed) == (1, ["file infer/model.onnx"])


def test_unused_altered_file_does_not_stop_inference(bundle: Path, ten_images: Path) -> None:
    flip(bundle / "adapt/step-portable.onnx")
    assert run(bundle, "infer", "--images", ten_images).returncode == 0


def test_state_that_cannot_be_written(shipped: Path, ten_images: Path) -> None:
    arguments = ["adapt", "--images", ten_images, "--state", ten_images]
    refused(shipped, arguments, 1, "StateError", "cannot be written", "--state")


def test_incomplete_driver(bundle: Path) -> None:
    shutil.rmtree(bundle / "driver")
    done = run(bundle, "selftest")
    assert done.returncode == 1 and "driver is incomplete" in done.stderr and "Traceback" not in done.stderr


def test_refusals_reach_the_user(shipped: Path, tmp_path: Path) -> None:
    refused_by_device(shipped, ["adapt", "--images", tmp_path], 1, "InputError", "holds no .jpg")
    refused_by_device(shipped, ["bench", "--batch", "0"], 2, "UsageError", "--batch")


def test_without_numpy(bundle: Path, ten_images: Path) -> None:
    written(bundle / "driver", "numpy.py", b"raise ImportError('no numpy here', name='numpy')")
    refused_by_device(bundle, ["infer", "--images", ten_images], 1, "DependencyError", "numpy", "requirements.txt")


def test_fault_of_ours(bundle: Path) -> None:
    written(bundle / "driver/toolchain/driver", "selftest.py", b"def run(*_): return 1 / 0")
    done = json.loads((bundle / "manifest.json").read_text())
    write_manifest(bundle, {**done, "files": {}})
    refused_by_device(bundle, ["selftest"], 70, "InternalError", "ZeroDivisionError", "-v")
    assert "Traceback" in run(bundle, "selftest", "-v").stderr


def test_without_json_nothing_is_on_stdout(shipped: Path) -> None:
    done = run(shipped, "infer", "--images", "nowhere")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("error: nowhere does not exist")
