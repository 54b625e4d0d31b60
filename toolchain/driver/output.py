"""Where words go: results to stdout, warnings and errors to stderr, progress to stderr of a terminal."""

import json
import sys
from typing import Any, Mapping


def emit(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """One result: a JSON object on one line, or the text for people. Flushed, so that a reader sees it at once.

    Written in one piece, so that the lines of two threads do not mix.
    """
    print(f"{json.dumps(result) if as_json else text}\n", end="", flush=True)


def warn(text: str) -> None:
    print(f"warning: {text}\n", end="", file=sys.stderr, flush=True)


def progress(text: str) -> None:
    """Replace the progress line; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
