"""Weights of an ONNX file replaced, without the onnx package.

ONNX Runtime's `SessionOptions.add_initializer` takes effect after constants were folded and weights repacked, so its
values are ignored wherever an optimisation already used the old ones. Replacing the bytes has no such exception.
Field numbers: onnx.proto (ModelProto.graph 7, GraphProto.initializer 5, TensorProto.data_type 2, float_data 4, name 8,
raw_data 9; FLOAT is 1);
wire format: protobuf.dev/programming-guides/encoding.
"""

from typing import Dict, Iterator, Mapping, Tuple

import numpy as np

from toolchain.errors import BundleError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FLOAT = 1
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


def float_initializers(model: bytes) -> Dict[str, np.ndarray]:
    """Every float32 initialiser, flat, by name."""
    found = ((_field(model, fields, 8).decode(), fields) for fields in _initializers(model))
    return {name: _data(model, fields) for name, fields in found if _is_float(model, fields)}


def _initializer_data(model: bytes) -> Dict[str, Span]:
    """Where the data of each initialiser lies in the file."""
    return {_field(model, fields, 8).decode(): _place(fields) for fields in _initializers(model)}


def _initializers(model: bytes) -> Iterator[Dict[int, Span]]:
    """The fields of each initialiser."""
    for graph in _messages(model, (0, len(model)), 7):
        for tensor in _messages(model, graph, 5):
            yield dict(_fields(model, tensor))


def _is_float(model: bytes, fields: Mapping[int, Span]) -> bool:
    return 2 in fields and _varint(model, fields[2][0])[0] == _FLOAT


def _data(model: bytes, fields: Mapping[int, Span]) -> np.ndarray:
    start, stop = _place(fields)
    return np.frombuffer(model, np.float32, (stop - start) // 4, start).copy()


def _place(fields: Mapping[int, Span]) -> Span:
    return fields.get(9, fields.get(4, (0, 0)))


def _field(model: bytes, fields: Mapping[int, Span], number: int) -> bytes:
    start, stop = fields.get(number, (0, 0))
    return model[start:stop]


def _messages(data: bytes, span: Span, number: int) -> Iterator[Span]:
    return (inner for found, inner in _fields(data, span) if found == number)


def _fields(data: bytes, span: Span) -> Iterator[Tuple[int, Span]]:
    """Field number and extent of every field of a message; of a repeated one, each in turn."""
    position, end = span
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        length, position = _length(data, position, wire)
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
