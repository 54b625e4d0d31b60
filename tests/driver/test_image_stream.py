"""Batches through a pipe: what comes out is what a file of the same images gives."""

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.driver import tiny_bundle
from tests.driver.tiny_bundle import ENVIRONMENT, device_python, random_images, run
from toolchain.driver.image_stream import stream_batches
from toolchain.driver.manifest import ModelFacts
from toolchain.driver.structure import decode
from toolchain.errors import InputError

TINY = decode(ModelFacts, tiny_bundle.manifest()["model"])


def saved(*arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def test_batches_are_the_arrays_as_they_come() -> None:
    wanted = [random_images(3), random_images(1)]
    found = list(stream_batches(TINY, io.BytesIO(saved(*wanted))))
    assert [len(batch) for batch in found] == [3, 1]
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (saved(random_images(2))[:-1], "no whole .npy array"),
        (b"JPEG rather", "no whole .npy array"),
        (saved(random_images(2).astype(np.float64)), "holds float64"),
        (saved(random_images(2)[:0]), "holds float32"),
    ],
)
def test_anything_else_is_refused_in_words(content: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        list(stream_batches(TINY, io.BytesIO(content)))


def test_adapt_answers_each_batch_before_the_next_is_sent(shipped: Path, tmp_path: Path) -> None:
    images = random_images(6)
    np.save(tmp_path / "images.npy", images)
    expected = run(shipped, "adapt", "--images", tmp_path / "images.npy", "--batch", 3, "--no-save", "--json")
    command = [device_python(), "-I", str(shipped), "adapt", "--images", "-", "--no-save", "--measure", "--json"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for line, start in zip(expected.stdout.splitlines(), (0, 3), strict=True):
            process.stdin.write(saved(images[start : start + 3]))
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            assert found["predictions"] == json.loads(line)["predictions"]
            assert found["loss"] == json.loads(line)["loss"]
            assert found["peak_step_bytes"] >= 0 and found["cpu_seconds"] > 0
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_batch_does_not_go_with_it(shipped: Path) -> None:
    done = run(shipped, "adapt", "--images", "-", "--batch", 3)
    assert done.returncode == 2 and "leave --batch out" in done.stderr
