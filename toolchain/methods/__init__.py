"""Adaptation methods, each declared in a file of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from toolchain.errors import UsageError
from toolchain.methods import ecotta, full, static, surgeon, tent
from toolchain.methods.declaration import Controller, Method

METHODS: Mapping[str, Mapping[str, Method]] = {
    chosen[0].name: {method.train: method for method in chosen}
    for chosen in (
        (full.FULL,),
        (tent.BN,),
        (ecotta.FULL,),
        (static.FULL, static.BN),
        (surgeon.FULL, surgeon.BN),
    )
}
"""By name, then by what trains; the first choice is the usual one."""

CONTROLLERS: tuple[Controller, ...] = get_args(Controller)


def find_method(name: str, train: str | None = None, prune: str | None = None) -> Method:
    """train: None for the method's usual choice. prune: the controller, None for the method's own.

    Raises UsageError for a name that is not declared, or a choice that the method does not have.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: `toolchain methods` lists {', '.join(METHODS)}")
    choices = METHODS[name]
    if train not in (None, *choices):
        raise UsageError(f"method {name} cannot train {train!r}: choose {' or '.join(choices)}")
    method = choices[train] if train is not None else next(iter(choices.values()))
    return method if prune is None else _pruned(method, prune)


def _pruned(method: Method, prune: str) -> Method:
    for controller in CONTROLLERS:
        if controller == prune:
            return replace(method, controller=controller)
    raise UsageError(f"--prune {prune!r} is unknown: choose {', '.join(CONTROLLERS)}")
