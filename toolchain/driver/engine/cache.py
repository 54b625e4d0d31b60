"""Engines that this device has built, kept where the bundle itself is not written to."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Mapping, Optional

from toolchain.driver.output import warn


class PlanCache:
    """Files that begin with the SHA-256 of what follows: a torn one is as good as none."""

    def __init__(self, *folders: Optional[Path]) -> None:
        """folders: the first that can be written to is used; without one nothing is kept."""
        self._folder = next((folder for folder in folders if folder is not None and _is_writable(folder)), None)

    def load(self, kind: str, facts: Mapping[str, Any]) -> Optional[bytes]:
        """What was kept for exactly these facts, or None."""
        if self._folder is None:
            return None
        try:
            content = self._path(self._folder, kind, facts).read_bytes()
        except OSError:
            return None
        return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None

    def save(self, kind: str, facts: Mapping[str, Any], content: bytes) -> None:
        """Keep it, whole or not at all, and drop what was kept of this kind for other facts."""
        if self._folder is None:
            return
        path = self._path(self._folder, kind, facts)
        try:
            _write_whole(path, hashlib.sha256(content).digest() + content)
            for other in self._folder.glob(f"{kind}-*.bin"):
                if other != path:
                    other.unlink()
        except OSError as error:
            warn(f"the {kind} cannot be kept in {self._folder} ({error.strerror}): the next start builds it again")

    def _path(self, folder: Path, kind: str, facts: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return folder / f"{kind}-{digest[:32]}.bin"


def user_cache(name: str) -> Optional[Path]:
    """A folder of this user's cache (XDG Base Directory Specification), or None for a user without a home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    cache = chosen if os.path.isabs(chosen) else os.path.expanduser("~/.cache")
    return Path(cache) / "toolchain" / name if os.path.isabs(cache) else None


def _is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    return False


def _write_whole(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with open(scratch, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()
