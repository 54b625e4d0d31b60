"""List the adaptation methods: what each trains, where it is from, and its paper's numbers for each data set."""

import argparse
from itertools import groupby
from typing import Any

from toolchain.driver.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> int:
    from toolchain.methods import METHODS

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "train": method.train,
            "settings": list(method.settings),
            "trains": sorted(method.trains),
            "controller": method.controller,
            "optimizer": method.optimizer.name if method.optimizer else None,
            "learning_rate": method.optimizer.learning_rate if method.optimizer else None,
            "numbers": method.numbers,
            "source": method.source,
        }
        for name, declared in METHODS.items()
        for method in declared
    ]
    emit({"methods": rows}, _text(rows), options.json)
    return 0


def _text(rows: list[dict[str, Any]]) -> str:
    lines = []
    for (name, train), found in groupby(rows, lambda row: (row["name"], row["train"])):
        declared = list(found)
        trains = ", ".join(declared[0]["trains"]) or "nothing"
        lines.append(f"{name:<8} {train:<5} {trains}; {declared[0]['source']}")
        lines += [f"    {', '.join(row['settings'])}: {_numbers(row)}" for row in declared if row["optimizer"]]
    return "\n".join(lines)


def _numbers(row: dict[str, Any]) -> str:
    return ", ".join([row["optimizer"], *(f"{name} {value:g}" for name, value in row["numbers"].items())])
