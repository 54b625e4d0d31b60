"""List the boards, or show one with the source of every fact."""

import argparse

from toolchain.driver.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a board; without it, all are listed")


def run(options: argparse.Namespace) -> int:
    from targets import load_target, target_names
    from toolchain.errors import UsageError

    if options.name is None:
        found = [load_target(name) for name in target_names()]
        text = "\n".join(f"{target.name:<12} {target.title}" for target in found)
        emit({"targets": [target.as_json() for target in found]}, text, options.json)
        return 0
    try:
        target = load_target(options.name)
    except LookupError as error:
        raise UsageError(str(error.args[0])) from error
    notes = [f"  note: {note}" for note in target.notes]
    rows = [f"  {key:<32} {fact.value!s:<16} {fact.source}" for key, fact in target.facts.items()]
    emit(target.as_json(), "\n".join([f"{target.name}: {target.title}", *notes, *rows]), options.json)
    return 0
