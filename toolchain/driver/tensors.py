"""Named tensors in one file: the safetensors format, written so that a reader never meets half a file.

Format: github.com/huggingface/safetensors, README, "Format".
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Dict, Mapping, Tuple

import numpy as np

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_CODES = {name: code for code, name in DTYPES.items()}


@dataclass(frozen=True)
class TensorFile:
    """Content of a file: arrays by name, and the text that goes with them."""

    tensors: Dict[str, np.ndarray]
    metadata: Dict[str, str]


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous arrays to `path`, whole or not at all, with the SHA-256 of header and data in the metadata.

    The file appears under its name only after its data reached the disk. Raises OSError.
    """
    header = _header(tensors, metadata)
    header["__metadata__"]["sha256"] = _digest(header, tensors)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as stream:
        _write(stream, header, tensors)
    os.replace(temporary, path)
    _flush_folder(path.parent)


def read_tensors(path: Path, sealed: bool = False) -> TensorFile:
    """Read a whole file. sealed: it has to hold its SHA-256, as `write_tensors` writes it; else it may.

    Raises OSError; ValueError if the file is torn or differs from its SHA-256.
    """
    with open(path, "rb") as stream:
        header, length = _read_header(stream)
        metadata = header.get("__metadata__", {})
        tensors = _read_data(stream, header, os.fstat(stream.fileno()).st_size - 8 - length)
    expected = metadata.pop("sha256", None)
    if (sealed or expected is not None) and expected != _digest(header, tensors):
        raise ValueError("its content differs from its SHA-256")
    return TensorFile(tensors, metadata)


def read_metadata(path: Path) -> Dict[str, str]:
    """The text of a file, its tensors left unread. Raises OSError, ValueError."""
    with open(path, "rb") as stream:
        metadata: Dict[str, str] = _read_header(stream)[0].get("__metadata__", {})
    return metadata


def _header(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Dict[str, Any]:
    header: Dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in tensors.items():
        span = [offset, offset + array.nbytes]
        header[name] = {"dtype": _CODES[str(array.dtype)], "shape": list(array.shape), "data_offsets": span}
        offset = span[1]
    return header


def _digest(header: Dict[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for array in tensors.values():
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _write(stream: BinaryIO, header: Dict[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for array in tensors.values():
        stream.write(_bytes(array))
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_header(stream: BinaryIO) -> Tuple[Dict[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if length > os.fstat(stream.fileno()).st_size:
        raise ValueError("its header is cut off")
    header = json.loads(stream.read(length).decode())
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header is not that of a tensor file")
    return header, length


def _read_data(stream: BinaryIO, header: Dict[str, Any], available: int) -> Dict[str, np.ndarray]:
    """Arrays in the order of their data, which is the order in which they were written."""
    entries = [(name, _entry(name, entry)) for name, entry in header.items() if name != "__metadata__"]
    start, tensors = stream.tell(), {}
    for name, (dtype, shape, begin, end) in sorted(entries, key=lambda item: item[1][2:]):
        if not 0 <= begin <= end <= available:
            raise ValueError(f"the data of {name} is cut off")
        stream.seek(start + begin)
        tensors[name] = np.fromfile(stream, dtype, (end - begin) // dtype.itemsize).reshape(shape)
    return tensors


def _entry(name: str, entry: Any) -> Tuple["np.dtype[Any]", Tuple[int, ...], int, int]:
    try:
        begin, end = entry["data_offsets"]
        return np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"]), int(begin), int(end)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its header describes {name} in a way that is not understood") from error
