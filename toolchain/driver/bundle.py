"""A bundle on disk: its manifest, and its files once their content is proved."""

import hashlib
from pathlib import Path
from typing import Dict, Iterator, Set, Tuple

from toolchain.driver.manifest import FileFacts, Manifest, read_manifest
from toolchain.errors import BundleError

PARAMETERS = "parameters.safetensors"


class Bundle:
    """A bundle whose files all have the length that the manifest says; never written to."""

    def __init__(self, path: Path) -> None:
        """Raises BundleError if manifest.json is unusable or a file is missing or of another length."""
        self.path = path
        self.manifest: Manifest = read_manifest(path / "manifest.json")
        self.identity = sha256_of(path / "manifest.json")
        self._proved: Set[str] = set()
        for name in self.manifest.files:
            self._check_length(name)

    @property
    def default_state(self) -> Path:
        """Folder of the adapted state: beside the bundle, named after it."""
        return self.path.parent / f"{self.path.name}-state"

    def file(self, name: str) -> Path:
        """Path of a file of the bundle, after its SHA-256 was checked once. Raises BundleError."""
        if name not in self._proved:
            self._check_content(name)
            self._proved.add(name)
        return self.path / name

    def altered_files(self) -> Iterator[Tuple[str, bool]]:
        """Each file's name and whether its content differs from what was built."""
        for name, facts in self.manifest.files.items():
            yield name, sha256_of(self.path / name) != facts.sha256

    def _check_length(self, name: str) -> None:
        path, expected = self.path / name, self.manifest.files[name].bytes
        if not path.is_file():
            raise BundleError(f"{path} is missing: copy the bundle again")
        if path.stat().st_size != expected:
            raise BundleError(f"{path} has {path.stat().st_size} bytes instead of {expected}: copy the bundle again")

    def _check_content(self, name: str) -> None:
        if name not in self.manifest.files:
            raise BundleError(f"{self.path / 'manifest.json'} does not list {name}: build the bundle again")
        if sha256_of(self.path / name) != self.manifest.files[name].sha256:
            raise BundleError(f"{self.path / name} was altered (its SHA-256 differs): copy the bundle again")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises BundleError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): copy the bundle again") from error
    return digest.hexdigest()


def file_facts(folder: Path) -> Dict[str, FileFacts]:
    """The manifest's `files`: every file below `folder` but manifest.json and Python's caches."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    facts = {path.relative_to(folder).as_posix(): FileFacts(sha256_of(path), path.stat().st_size) for path in files}
    facts.pop("manifest.json", None)
    return facts
