"""Runs a command of a bundle and turns every error into words and an exit code: 0, 1, 2, 70."""

import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, List, Optional, Sequence

from toolchain.driver.arguments import build_parser
from toolchain.driver.memory import return_freed_memory
from toolchain.driver.output import emit
from toolchain.errors import DependencyError, InternalError, ToolchainError

INTERRUPTED = 130


def main(bundle_path: str, argv: Optional[Sequence[str]] = None) -> int:
    """Run one command of the bundle at `bundle_path`; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a service that is stopped saves what it learnt
    try:
        options = build_parser().parse_args(arguments)
        if options.command in ("adapt", "run", "bench", "selftest"):
            return_freed_memory()
        return _run(Path(bundle_path), options)
    except KeyboardInterrupt:
        print("interrupted; every saved state is whole", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _report(error, arguments)


def _run(bundle: Path, options: Any) -> int:
    """Each command is the module of its name, with run(bundle_path, options) → exit code."""
    try:
        command = importlib.import_module(f"toolchain.driver.{options.command}")
    except ImportError as error:
        raise DependencyError(
            f"{sys.executable} cannot import {error.name or 'a package'} ({error}): "
            f"install what {bundle / 'requirements.txt'} lists"
        ) from error
    return int(command.run(bundle, options))


def _report(error: Exception, arguments: List[str]) -> int:
    if {"-v", "--verbose"} & set(arguments):
        traceback.print_exception(type(error), error, error.__traceback__)
    known = _as_known(error)
    if "--json" in arguments:
        emit({"error": {"kind": type(known).__name__, "message": str(known)}}, "", as_json=True)
    print(f"error: {known}", file=sys.stderr)
    return known.exit_code


def _as_known(error: Exception) -> ToolchainError:
    if isinstance(error, ToolchainError):
        return error
    if isinstance(error, MemoryError):
        return ToolchainError("out of memory: lower --batch or set --budget")
    return InternalError(f"{type(error).__name__}: {error}: a fault of toolchain; run again with -v and report it")
