"""Values that people choose, refused in words before anything is done."""

import math
from collections.abc import Sequence

from toolchain.errors import UsageError


def require_count(name: str, value: object, least: int = 1) -> None:
    """None, or a whole number from `least`."""
    if value is not None and (type(value) is not int or value < least):
        raise UsageError(f"{name} = {value!r}: choose a whole number from {least}")


def require_number(name: str, value: object, most: float = math.inf) -> None:
    """None, or a finite number from 0 to `most`."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most or math.isinf(value):
        limit = "" if math.isinf(most) else f" to {most:g}"
        raise UsageError(f"{name} = {value!r}: choose a number from 0{limit}")


def require_one_of(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name} = {value!r}: choose {', '.join(known)}")
