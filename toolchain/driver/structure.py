"""Frozen dataclasses from JSON, checked field by field."""

import dataclasses
from typing import Any, Callable, Dict, Tuple, Type, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Mismatch(ValueError):
    """JSON that does not have the expected structure; the message says where."""


def decode(kind: Type[T], value: object, where: str = "") -> T:
    """Build the dataclass `kind` from parsed JSON.

    Fields may be dataclasses, str, int, float, bool, Optional, Union, Tuple[X, ...], Dict[str, X] or Any. Keys that the
    dataclass does not name are ignored; a missing field takes its default. Raises Mismatch.
    """
    table: Dict[str, Any] = _expect(dict, value, where)
    hints = get_type_hints(kind)
    found = {f.name: _field(f, hints[f.name], table, where) for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**found)


def _field(field: "dataclasses.Field[Any]", kind: Any, table: Dict[str, Any], where: str) -> Any:
    place = f"{where}.{field.name}" if where else field.name
    if field.name in table:
        return _value(kind, table[field.name], place)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise Mismatch(f"{place} is missing")


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return decode(kind, value, where)  # type: ignore[arg-type]
    generic = _GENERICS.get(get_origin(kind))
    return generic(get_args(kind), value, where) if generic else _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    return _expect(kind, value, where)


def _expect(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise Mismatch(f"{where or 'the file'} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _union(kinds: Tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    choices = [kind for kind in kinds if kind is not type(None)]
    exact = [kind for kind in choices if type(value) is kind]
    return _value((exact or choices)[0], value, where)


def _tuple(kinds: Tuple[Any, ...], value: Any, where: str) -> Tuple[Any, ...]:
    return tuple(_value(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(_expect(list, value, where)))


def _dict(kinds: Tuple[Any, ...], value: Any, where: str) -> Dict[str, Any]:
    return {key: _value(kinds[1], item, f"{where}[{key!r}]") for key, item in _expect(dict, value, where).items()}


_GENERICS: Dict[Any, Callable[[Tuple[Any, ...], Any, str], Any]] = {Union: _union, tuple: _tuple, dict: _dict}
