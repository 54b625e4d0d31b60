"""Writes down what operators were given and what they made of it, for replay.py to ask of other builds of the kernels.

With TOOLCHAIN_RECORD_CASES=FOLDER, each case that the tests run becomes a file there, OPERATOR-HASH.case. All numbers
in it are little-endian, and of 8 bytes:

    case:       text operator; double tolerance; double size; attributes; inputs; outputs; text failure ("": it is none)
    attributes, inputs, outputs: how many, and each of them
    text:       length, bytes
    attribute:  text name; type as in OrtOpAttrType; count; each an int64, or a double
    tensor:     type as in ONNX, -1 for an input that is missing, and nothing after; rank; sides; the elements' bytes
"""

import os
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from hypothesis import currently_in_test_context
from onnx import helper

FOLDER = os.environ.get("TOOLCHAIN_RECORD_CASES")
INT, INTS, FLOAT = 1, 2, 3
MISSING = -1

MOST_BYTES = 1 << 21
"""A case with more is not written down: it would take an emulated machine too long."""

MOST_DRAWN = 60
"""So many of the cases that hypothesis draws for an operator are written down."""

TOLERANCES = {
    "AdamUpdate": 1e-6,
    "BatchNormGradient": 1e-5,
    "BatchNormalize": 1e-6,
    "BatchNormalizeRelu": 1e-6,
    "ChannelMoments": 1e-5,
    "ConvWeightGradient": 1e-5,
    "MomentumUpdate": 1e-6,
}
"""How far float32 outputs may be off, as a part of the element, of the output's root mean square or of the size of what
it is the small difference of, whichever is largest; not at all if the operator is not here."""

Attribute = int | float | tuple[int, ...]

_drawn: Counter[str] = Counter()


def record(
    op_type: str,
    attributes: Mapping[str, Attribute],
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    failure: str = "",
) -> None:
    """Write down a case, if this is wanted and it can be repeated: what the runtime refuses by itself cannot."""
    of_the_runtime = failure and f"{op_type}: " not in failure
    if FOLDER is None or of_the_runtime or sum(x.nbytes for x in inputs if x is not None) > MOST_BYTES:
        return
    if currently_in_test_context():
        _drawn[op_type] += 1
        if _drawn[op_type] > MOST_DRAWN:
            return
    content = case(op_type, attributes, inputs, outputs, failure)
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    (Path(FOLDER) / f"{op_type}-{sha256(content).hexdigest()[:12]}.case").write_bytes(content)


def case(
    op_type: str,
    attributes: Mapping[str, Attribute],
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    failure: str = "",
) -> bytes:
    """The content of a file."""
    return b"".join(
        [
            _text(op_type),
            struct.pack("<2d", TOLERANCES.get(op_type, 0), _size(op_type, inputs)),
            _ints(len(attributes)),
            *[_text(name) + _attribute(value) for name, value in sorted(attributes.items())],
            _ints(len(inputs)),
            *map(_tensor, inputs),
            _ints(len(outputs)),
            *map(_tensor, outputs),
            _text(failure),
        ]
    )


def _size(op_type: str, inputs: Sequence[np.ndarray | None]) -> float:
    """How large the terms may be that an output is the sum of."""
    if op_type != "BatchNormGradient":
        return 0
    dy, _, _, scale, inverse = (np.zeros(1) if x is None else x for x in inputs[:5])
    size = float(np.abs(dy).max(initial=0)) * float(np.abs(scale).max(initial=0) * np.abs(inverse).max(initial=0))
    return size if np.isfinite(size) else 0


def _ints(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _text(text: str) -> bytes:
    content = text.encode()
    return _ints(len(content)) + content


def _attribute(value: Attribute) -> bytes:
    if isinstance(value, float):
        return _ints(FLOAT, 1) + struct.pack("<d", value)
    return _ints(INT, 1, value) if isinstance(value, int) else _ints(INTS, len(value), *value)


def _tensor(tensor: np.ndarray | None) -> bytes:
    if tensor is None:
        return _ints(MISSING)
    return _ints(helper.np_dtype_to_tensor_dtype(tensor.dtype), tensor.ndim, *tensor.shape) + tensor.tobytes()
