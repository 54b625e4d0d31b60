"""The tensor file: as the safetensors package reads and writes it, and whole or refused."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from toolchain.driver.tensors import read_metadata, read_tensors, write_tensors

TENSORS: dict[str, np.ndarray] = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(3.5, np.float64),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "index": np.array([[-1]], np.int64),
}


def test_round_trip(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", TENSORS, {"step": "4"})
    found = read_tensors(tmp_path / "t")
    assert found.metadata == {"step": "4"} and read_metadata(tmp_path / "t")["step"] == "4"
    assert list(found.tensors) and found.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


def test_safetensors_reads_what_we_write(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", TENSORS, {})
    for name, array in safetensors.numpy.load_file(tmp_path / "t").items():
        np.testing.assert_array_equal(array, TENSORS[name])


def test_we_read_what_safetensors_writes(tmp_path: Path) -> None:
    safetensors.numpy.save_file(TENSORS, tmp_path / "t")
    for name, array in read_tensors(tmp_path / "t").tensors.items():
        np.testing.assert_array_equal(array, TENSORS[name])


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_tensors(tmp_path / "t", TENSORS, {"step": "1"})
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(tmp_path / "t", TENSORS, {"step": "2"})
    assert read_tensors(tmp_path / "t", sealed=True).metadata == {"step": "1"}


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"weight": TENSORS["weight"]}, {"step": "4"})
    whole = (tmp_path / "t").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "t").write_bytes(whole[:length])
        with pytest.raises(ValueError):
            read_tensors(tmp_path / "t", sealed=True)


def test_every_changed_byte_of_content_is_noticed(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", {"weight": TENSORS["weight"]}, {"step": "4"})
    whole = (tmp_path / "t").read_bytes()
    for place in range(len(whole)):
        if whole[place : place + 1] == b" ":
            continue  # between the tokens of the header
        (tmp_path / "t").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError):
            read_tensors(tmp_path / "t", sealed=True)
