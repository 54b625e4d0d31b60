"""Adapted state survives: torn, foreign and unwritable files, a second process, SIGKILL at any moment."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.driver.tiny_bundle import ENVIRONMENT, device_python, folder_digest, random_images
from toolchain.driver.bundle import Bundle
from toolchain.driver.state import StateFolder, kind_of, open_state
from toolchain.errors import StateError

KILLS = 20


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full((3, 2), value, np.float32), "n": np.full(1, value, np.float32)}


def open_folder(path: Path, identity: str = "mine") -> StateFolder:
    return StateFolder(path, identity, {name: kind_of(array) for name, array in arrays(0).items()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three states saved; two are kept."""
    path = tmp_path / "state"
    writer = open_folder(path)
    for step in (1, 2, 3):
        writer.save(step, arrays(step))
    writer.release()
    return path


def names(folder: Path) -> "list[str]":
    return sorted(path.name for path in folder.glob("state-*"))


def test_newest_is_loaded_and_two_are_kept(folder: Path) -> None:
    assert names(folder) == ["state-2.safetensors", "state-3.safetensors"]
    saved = open_folder(folder).load()
    assert saved is not None and saved.step == 3
    np.testing.assert_array_equal(saved.tensors["w"], arrays(3)["w"])


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:5], lambda b: b"", lambda b: b[:-1] + b"\x7f"])
def test_torn_file_falls_back_to_the_previous(
    folder: Path, damage: "object", capsys: pytest.CaptureFixture[str]
) -> None:
    newest = folder / "state-3.safetensors"
    newest.write_bytes(damage(newest.read_bytes()))  # type: ignore[operator]
    saved = open_folder(folder).load()
    assert saved is not None and saved.step == 2
    assert "state-3.safetensors is refused" in capsys.readouterr().err


def test_good_state_is_kept_until_two_newer_are_written(folder: Path) -> None:
    (folder / "state-3.safetensors").write_bytes(b"torn")
    reader = open_folder(folder)
    reader.load()
    reader.save(4, arrays(4))
    assert {"state-2.safetensors", "state-4.safetensors"} <= set(names(folder))


def test_all_torn_means_shipped_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.glob("state-*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert open_folder(folder).load() is None
    assert "the shipped parameters are used" in capsys.readouterr().err


def test_foreign_state_is_refused_and_never_deleted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = open_folder(folder, "other")
    assert other.load() is None
    assert "saved by another bundle" in capsys.readouterr().err
    for step in (1, 2, 3):
        other.save(step, arrays(step))
    expected = ["state-2.safetensors", "state-3.safetensors", "state-5.safetensors", "state-6.safetensors"]
    assert names(folder) == expected
    mine = open_folder(folder).load()
    assert mine is not None and mine.step == 3


def test_state_of_other_shapes_is_refused(folder: Path) -> None:
    assert StateFolder(folder, "mine", {"w": ("float32", (5,))}).load() is None


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--state"):
        open_folder(tmp_path / "file").save(1, arrays(1))


def test_second_process_is_refused(folder: Path) -> None:
    first = open_folder(folder)
    first.claim()
    with pytest.raises(StateError, match="another process"):
        open_folder(folder).save(9, arrays(9))
    first.release()
    open_folder(folder).save(9, arrays(9))


def test_killed_at_any_moment_the_state_is_whole(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "many.npy", random_images(20_000))
    before, state, moments, last = folder_digest(bundle), tmp_path / "tiny-state", random.Random(3), 0
    for _ in range(KILLS):
        steps = list(adapt_until_killed(bundle, tmp_path / "many.npy", moments.uniform(0.0, 0.3)))
        assert steps == list(range(last + 1, last + 1 + len(steps)))
        saved = open_state(Bundle(bundle), state).load()
        assert saved is not None and last + len(steps) <= saved.step <= last + len(steps) + 1
        assert saved.tensors["sgd.step"].tolist() == [saved.step]
        last = saved.step
    assert last > KILLS and "refused" not in capsys.readouterr().err
    assert folder_digest(bundle) == before


def adapt_until_killed(bundle: Path, images: Path, seconds: float) -> Iterator[int]:
    """Numbers of the batches that were reported before SIGKILL, `seconds` after the first."""
    command = [device_python(), "-I", str(bundle), "adapt", "--images", str(images), "--json", "--batch", "2"]
    with subprocess.Popen([*command, "--threads", "1"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    yield from (json.loads(line)["step"] for line in lines if line.endswith("\n"))
