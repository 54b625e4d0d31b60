"""`run` on the tiny bundle: every frame predicted, batches learnt from in the background, refits in between."""

import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import ENVIRONMENT, device_python, folder_digest, random_images, run
from toolchain.driver.latency import percentiles
from toolchain.driver.tensors import read_tensors


def events(text: str) -> dict[str, list[Any]]:
    """The lines by kind."""
    found: dict[str, list[Any]] = {"frame": [], "step": [], "refit": [], "summary": []}
    for line in text.splitlines():
        event = json.loads(line)
        found[event.pop("event")].append(event)
    return found


def ran(bundle: Path, *arguments: object) -> dict[str, list[Any]]:
    done = run(bundle, "run", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return events(done.stdout)


def test_every_frame_is_predicted_and_learnt_from(bundle: Path, ten_images: Path) -> None:
    before = folder_digest(bundle)
    found = ran(bundle, "--images", ten_images)
    assert [frame["frame"] for frame in found["frame"]] == list(range(10))
    assert [len(step["predictions"]) for step in found["step"]] == [4, 4, 2]
    assert [refit["step"] for refit in found["refit"]] == [1, 2, 3]
    (summary,) = found["summary"]
    assert (summary["frames"], summary["dropped"], summary["steps"], summary["refits"]) == (10, 0, 3, 3)
    assert summary["engine"].startswith("onnxruntime") and set(summary["latency_ms"]) == {"p50", "p90", "p99", "max"}
    assert folder_digest(bundle) == before
    assert ran(bundle, "--images", ten_images)["step"][0]["step"] == 4, "the next run goes on"


def test_refits_come_every_so_many_steps_and_at_the_end(shipped: Path, ten_images: Path) -> None:
    found = ran(shipped, "--images", ten_images, "--batch", 2, "--every", 2, "--no-save")
    assert [refit["step"] for refit in found["refit"]] == [2, 4, 5]


def test_last_refit_predicts_as_the_saved_state(bundle: Path, tmp_path: Path) -> None:
    """A learning rate so large that predictions change: those of the next run are numpy's."""
    images = random_images(8)
    np.save(tmp_path / "images.npy", images)
    arguments = ("--images", tmp_path / "images.npy", "--prune-ratio", 0)
    ran(bundle, *arguments, "--learning-rate", 3)
    (newest,) = (bundle.parent / "tiny-state").glob("state-2.safetensors")
    state = {**tiny_numpy.initial_state(), **read_tensors(newest, sealed=True).tensors}
    expected = tiny_numpy.infer(state, images).argmax(axis=1).tolist()
    again = ran(bundle, *arguments, "--learning-rate", 0, "--no-save", "--every", 100)
    assert [frame["prediction"] for frame in again["frame"]] == expected
    assert expected != tiny_numpy.infer(tiny_numpy.initial_state(), images).argmax(axis=1).tolist()


def test_frames_of_a_camera_do_not_wait_for_the_learner(shipped: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", random_images(2000))
    found = ran(shipped, "--images", tmp_path / "many.npy", "--batch", 1, "--fps", 1e6, "--no-save")
    (summary,) = found["summary"]
    assert summary["frames"] == 2000 and summary["dropped"] == 0
    assert summary["steps"] + summary["unlearnt"] == 2000 and summary["unlearnt"] > 0


def test_frames_come_through_a_pipe(shipped: Path) -> None:
    pipe = io.BytesIO()
    for count in (1, 3, 8):
        np.save(pipe, random_images(count, seed=count))
    command = [device_python(), "-I", str(shipped), "run", "--images", "-", "--no-save", "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, input=pipe.getvalue(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    found = events(done.stdout.decode())
    (summary,) = found["summary"]
    assert [frame["frame"] for frame in found["frame"]] == list(range(12))
    assert 4 * summary["steps"] + summary["unlearnt"] == 12


def test_pipe_has_its_own_pace(shipped: Path) -> None:
    done = run(shipped, "run", "--images", "-", "--fps", "5", "--no-save")
    assert done.returncode == 2 and "leave --fps out" in done.stderr


def test_batch_that_cannot_be_learnt_from_is_skipped(shipped: Path, tmp_path: Path) -> None:
    images = random_images(12)
    images[5] = np.nan
    np.save(tmp_path / "images.npy", images)
    done = run(shipped, "run", "--images", tmp_path / "images.npy", "--no-save", "--json")
    found = events(done.stdout)
    assert done.returncode == 0 and "batch 2 is skipped" in done.stderr
    assert (found["summary"][0]["steps"], found["summary"][0]["skipped"]) == (2, 1)


def test_what_the_learner_fails_with_ends_the_run(shipped: Path, ten_images: Path) -> None:
    done = run(shipped, "run", "--images", ten_images, "--no-save", "--budget", "1")
    assert done.returncode == 2 and done.stderr.startswith("error: ")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started can be interrupted, also where pytest runs in the background of a shell, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("sent", "code", "frames"),
    [(signal.SIGUSR1, 0, 60), (signal.SIGINT, 130, 1200), (signal.SIGTERM, 130, 1200)],
)
@pytest.mark.usefixtures("interruptible")
def test_signals(bundle: Path, tmp_path: Path, sent: signal.Signals, code: int, frames: int) -> None:
    """SIGUSR1: a refit out of turn. SIGINT, SIGTERM: the run ends, and what was learnt is saved."""
    np.save(tmp_path / "slow.npy", random_images(frames))
    rarely = ["--every", "1000", "--save-every", "1000"]
    arguments = ["run", "--images", str(tmp_path / "slow.npy"), "--fps", "20", *rarely, "--json"]
    process = subprocess.Popen(
        [device_python(), "-I", str(bundle), *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while '"step"' not in lines[-1]:
        lines.append(process.stdout.readline())
    process.send_signal(sent)
    time.sleep(0.1)
    rest, _ = process.communicate(timeout=60)
    found = events("".join(lines) + rest)
    assert process.returncode == code
    assert len(found["refit"]) == (2 if sent == signal.SIGUSR1 else 1)
    assert list((bundle.parent / "tiny-state").glob("state-*"))


def test_tensorrt_that_is_not_there_is_said(shipped: Path, ten_images: Path) -> None:
    done = run(shipped, "run", "--images", ten_images, "--engine", "tensorrt", "--no-save")
    assert done.returncode == 1 and "use --engine onnxruntime" in done.stderr


def test_percentiles_are_those_of_sorted_times() -> None:
    seconds = [index / 1000 for index in range(101)]
    assert percentiles(seconds[::-1]) == pytest.approx({"p50": 50, "p90": 90, "p99": 99, "max": 100})
