"""A bundle, adapted by its own driver in a process of its own: what runs on a device."""

import contextlib
import io
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from toolchain.driver.image_stream import STANDARD_INPUT
from toolchain.errors import ToolchainError
from toolchain.evaluation.contestants.outcome import Outcome


class BundleProcess:
    """`adapt` on a pipe, from the shipped weights. To be closed; as a context manager it closes itself."""

    def __init__(self, bundle: Path, python: str, options: Sequence[str]) -> None:
        """python: what runs it. options: further arguments of `adapt`."""
        self._state = tempfile.TemporaryDirectory()
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        stream = ["--images", STANDARD_INPUT, "--no-save", "--state", self._state.name, "--measure", "--json"]
        self._process = subprocess.Popen(
            [python, "-I", str(bundle), "adapt", *stream, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    def adapt(self, images: np.ndarray) -> Outcome:
        """images: float32 [N, 3, H, W], preprocessed. Raises ToolchainError with what the driver says."""
        assert self._process.stdin is not None and self._process.stdout is not None
        content = io.BytesIO()
        np.save(content, images)
        try:
            self._process.stdin.write(content.getbuffer())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": None}
        if "error" in found:
            raise self._failure()
        return Outcome(None if "skipped" in found else np.array(found.pop("predictions"), np.int64), found)

    def _failure(self) -> ToolchainError:
        self._process.wait()
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").rpartition("error: ")[2].strip()
        return ToolchainError(f"the bundle's driver stopped: {words[-2000:] or self._process.returncode}")

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError), self._process as process:
            process.kill()
        self._complaints.close()
        self._state.cleanup()

    def __enter__(self) -> "BundleProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
