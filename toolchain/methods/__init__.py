"""Adaptation methods, each declared in a file of its own."""

from collections.abc import Mapping

from toolchain.errors import UsageError
from toolchain.methods.declaration import Method
from toolchain.methods.surgeon import SURGEON

METHODS: Mapping[str, Mapping[str, Method]] = {"surgeon": SURGEON}
"""By name, then by what trains: "full" or "bn"."""


def find_method(name: str, train: str = "full") -> Method:
    """Raises UsageError for a name that is not declared, or that does not train that."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: `toolchain methods` lists {', '.join(METHODS)}")
    if train not in METHODS[name]:
        raise UsageError(f"method {name} cannot train {train!r}: choose {' or '.join(METHODS[name])}")
    return METHODS[name][train]
