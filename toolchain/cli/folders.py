"""Folders that commands write to."""

from pathlib import Path

from toolchain.errors import UsageError


def make_folder(path: Path) -> None:
    """Before hours of work: what they make can be kept. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another --output") from error
