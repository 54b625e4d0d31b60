"""Amounts of memory, as people write them."""

import re

from toolchain.errors import UsageError

_DECIMAL = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_UNITS = {**_DECIMAL, **_BINARY}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(|[kmgt]i?)b?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int:
    """Bytes of "96MiB", "1.5GB" or "1048576", rounded down; at least 1. Raises UsageError."""
    found = _PATTERN.fullmatch(text.strip())
    amount = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if amount < 1:
        raise UsageError(f"{text!r} is not an amount of memory: write for example 96MiB, 1.5GB or 100000000")
    return amount


def format_bytes(amount: int) -> str:
    """An amount for people: "96.0 MiB"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} B"
