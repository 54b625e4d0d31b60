"""Adaptation methods, each declared in a file of its own, with the numbers that its paper gives for each data set."""

from collections.abc import Mapping

from toolchain.errors import UsageError
from toolchain.methods import bn, cotta, eata, ecotta, full, law, mecta, sar, source, static, surgeon, tent
from toolchain.methods.choices import Choices
from toolchain.methods.declaration import SETTINGS, Method

__all__ = ["METHODS", "SETTINGS", "Choices", "find_method"]

METHODS: Mapping[str, tuple[Method, ...]] = {
    declared[0].name: declared
    for declared in (
        source.NONE,
        bn.NONE,
        full.FULL,
        tent.BN,
        eata.BN,
        sar.BN,
        cotta.FULL,
        law.FULL,
        ecotta.FULL,
        mecta.BN,
        static.FULL + static.BN,
        surgeon.FULL + surgeon.BN,
    )
}
"""By name; what trains first is the usual choice, and each choice is declared once for every data set."""


def find_method(name: str, choices: Choices | None = None) -> Method:
    """Raises UsageError for a name that is not declared, or a choice that the method does not have."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: `toolchain methods` lists {', '.join(METHODS)}")
    chosen = choices or Choices()
    if chosen.setting not in (None, *SETTINGS):
        raise UsageError(f"--setting {chosen.setting!r} is unknown: choose {', '.join(SETTINGS)}")
    declared = {method.train: method for method in METHODS[name] if chosen.fits(method)}
    if chosen.train not in (None, *declared):
        raise UsageError(f"method {name} cannot train {chosen.train!r}: it trains {' or '.join(declared)}")
    return chosen.applied_to(next(method for method in declared.values() if chosen.train in (None, method.train)))
