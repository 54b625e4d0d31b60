"""The command line of the host: each command is the module of its name, its docstring the help text."""

import argparse
import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from toolchain import __version__
from toolchain.driver.output import emit
from toolchain.errors import InternalError, ToolchainError, UsageError

COMMANDS = (
    "build",
    "verify",
    "inspect",
    "bench",
    "evaluate",
    "sweep",
    "deploy",
    "targets",
    "methods",
    "models",
    "doctor",
)
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument as UsageError, so that it leaves like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 the user can act on it, 2 usage, 70 our own fault."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half-written is removed
    try:
        options = build_parser().parse_args(arguments)
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return _report(error, arguments)


def build_parser() -> Parser:
    parser = Parser(prog="toolchain", description="Compile vision models into bundles that adapt themselves.")
    parser.add_argument("--version", action="version", version=f"toolchain {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"toolchain.cli.{name}")
        text = str(module.__doc__)
        command = commands.add_parser(name, help=text.splitlines()[0], description=text)
        module.configure(command)
        command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        command.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run)
    return parser


def _report(error: Exception, arguments: list[str]) -> int:
    if {"-v", "--verbose"} & set(arguments):
        traceback.print_exception(error)
    known = error if isinstance(error, ToolchainError) else _fault(error)
    if "--json" in arguments:
        emit({"error": {"kind": type(known).__name__, "message": str(known)}}, "", as_json=True)
    print(f"error: {known}", file=sys.stderr)
    return known.exit_code


def _fault(error: Exception) -> InternalError:
    return InternalError(f"{type(error).__name__}: {error}: a fault of toolchain; run again with -v and report it")


if __name__ == "__main__":
    sys.exit(main())
