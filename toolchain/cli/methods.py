"""List the adaptation methods, what each trains and where it is from."""

import argparse
from typing import Any

from toolchain.driver.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> int:
    from toolchain.methods import METHODS

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "train": train,
            "trains": sorted(method.trains),
            "controller": method.controller,
            "optimizer": method.optimizer.name if method.optimizer else None,
            "learning_rate": method.optimizer.learning_rate if method.optimizer else None,
            "source": method.source,
        }
        for name, choices in METHODS.items()
        for train, method in choices.items()
    ]
    lines = [f"{i['name']:<8} {i['train']:<5} {', '.join(i['trains']) or 'nothing'}; {i['source']}" for i in rows]
    emit({"methods": rows}, "\n".join(lines), options.json)
    return 0
