"""Weights of an ONNX file replaced, without the onnx package.

ONNX Runtime's `SessionOptions.add_initializer` takes effect after constants were folded and weights repacked, so its
values are ignored wherever an optimisation already used the old ones. Replacing the bytes has no such exception.
Field numbers: onnx.proto (ModelProto.graph 7, GraphProto.initializer 5, TensorProto.float_data 4, name 8, raw_data 9);
wire format: protobuf.dev/programming-guides/encoding.
"""

from typing import Dict, Iterator, Mapping, Tuple

import numpy as np

from toolchain.errors import BundleError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
Span = Tuple[int, int]


def replace_initializers(model: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The model with the named float32 initialisers replaced by arrays of the same size. Raises BundleError."""
    spans, result = _initializer_data(model), bytearray(model)
    for name, array in arrays.items():
        start, stop = spans.get(name, (0, 0))
        if array.dtype != np.float32 or stop - start != array.nbytes:
            raise BundleError(
                f"the graph has no float32 initialiser {name} with {array.size} elements: build the bundle again"
            )
        result[start:stop] = array.tobytes()
    return bytes(result)


def _initializer_data(model: bytes) -> Dict[str, Span]:
    """Where the data of each initialiser lies in the file."""
    found = {}
    for graph in _messages(model, (0, len(model)), 7):
        for tensor in _messages(model, graph, 5):
            fields = {number: span for number, span in _fields(model, tensor) if number in (4, 8, 9)}
            start, stop = fields.get(8, (0, 0))
            found[model[start:stop].decode()] = fields.get(9, fields.get(4, (0, 0)))
    return found


def _messages(data: bytes, span: Span, number: int) -> Iterator[Span]:
    return (inner for found, inner in _fields(data, span) if found == number)


def _fields(data: bytes, span: Span) -> Iterator[Tuple[int, Span]]:
    """Field number and extent of every length-delimited field of a message."""
    position, end = span
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        length, position = _length(data, position, wire)
        if wire == _LENGTH:
            yield number, (position, position + length)
        position += length


def _length(data: bytes, position: int, wire: int) -> Tuple[int, int]:
    """How long a field's content is, and where it starts."""
    if wire == _LENGTH:
        return _varint(data, position)
    if wire == _VARINT:
        return _varint(data, position)[1] - position, position
    return {_FIXED64: 8, _FIXED32: 4}[wire], position


def _varint(data: bytes, position: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
