"""What replays cases on other machines says no where it must: here by the library for this machine."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from graphs.kernels.build import PLATFORMS
from tests.kernels.harness import PLATFORM, kernels
from tests.kernels.record import case
from tests.kernels.replay import REPLAY, compile_all, link

X = np.linspace(-1, 2, 12, dtype=np.float32).reshape(1, 2, 6)
POSITIVE = np.packbits(X > 0, bitorder="little")
MEAN, VARIANCE = X.mean(axis=(0, 2)), X.var(axis=(0, 2))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, target = tmp_path_factory.mktemp("replay"), PLATFORMS[PLATFORM].target
    objects = compile_all(REPLAY, target, folder)
    return link([*objects, kernels()], target, folder / "replay", [f"-Wl,-rpath,{kernels().parent}"])


@pytest.mark.parametrize(
    ("op_type", "outputs", "failure", "verdict"),
    [
        ("PackPositive", [POSITIVE], "", "1 passed, 0 failed"),
        ("PackPositive", [POSITIVE ^ 1], "", f"output 0: element 0 is {POSITIVE[0]}, not {POSITIVE[0] ^ 1}"),
        ("PackPositive", [POSITIVE[:1]], "", "output 0: it is of another type or shape"),
        ("PackPositive", [POSITIVE.view(np.bool_)], "", "output 0: it is of another type or shape"),
        ("PackPositive", [], "PackPositive: it is refused", "it says '', not 'PackPositive: it is refused'"),
        ("Densify", [X], "", "it says 'Densify: input 2 is no shape"),
        ("ChannelMoments", [MEAN * np.float32(1 + 1e-6), VARIANCE], "", "1 passed, 0 failed"),
        ("ChannelMoments", [MEAN, VARIANCE * np.float32(1 + 1e-4)], "", "output 1: element 0 is"),
        ("ChannelMoments", [MEAN * np.array([1, np.nan], np.float32), VARIANCE], "", "output 0: element 1 is"),
        ("NoSuch", [X], "", "the library has no operator NoSuch"),
    ],
)
def test_verdict(
    program: str, op_type: str, outputs: Sequence[np.ndarray], failure: str, verdict: str, tmp_path: Path
) -> None:
    path = tmp_path / "one.case"
    path.write_bytes(case(op_type, {}, [X], outputs, failure))
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60)
    assert verdict in done.stdout + done.stderr
    assert (done.returncode == 0) == ("1 passed" in verdict)


def test_a_broken_file_is_refused(program: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.case"
    path.write_bytes(case("PackPositive", {}, [X], [POSITIVE])[:-9])
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"error: {path} ends too early\n")
