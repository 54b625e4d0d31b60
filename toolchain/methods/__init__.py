"""Adaptation methods, each declared in a file of its own."""

from collections.abc import Mapping

from toolchain.errors import UsageError
from toolchain.methods import bn, cotta, eata, ecotta, full, law, mecta, sar, source, static, surgeon, tent
from toolchain.methods.choices import Choices
from toolchain.methods.declaration import Method

__all__ = ["METHODS", "Choices", "find_method"]

METHODS: Mapping[str, Mapping[str, Method]] = {
    chosen[0].name: {method.train: method for method in chosen}
    for chosen in (
        (source.NONE,),
        (bn.NONE,),
        (full.FULL,),
        (tent.BN,),
        (eata.BN,),
        (sar.BN,),
        (cotta.FULL,),
        (law.FULL,),
        (ecotta.FULL,),
        (mecta.BN,),
        (static.FULL, static.BN),
        (surgeon.FULL, surgeon.BN),
    )
}
"""By name, then by what trains; the first choice is the usual one."""


def find_method(name: str, choices: Choices | None = None) -> Method:
    """Raises UsageError for a name that is not declared, or a choice that the method does not have."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: `toolchain methods` lists {', '.join(METHODS)}")
    declared, chosen = METHODS[name], choices or Choices()
    if chosen.train not in (None, *declared):
        raise UsageError(f"method {name} cannot train {chosen.train!r}: it trains {' or '.join(declared)}")
    method = declared[chosen.train] if chosen.train is not None else next(iter(declared.values()))
    return chosen.applied_to(method)
