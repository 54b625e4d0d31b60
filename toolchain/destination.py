"""Where a build goes: a folder that appears whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.driver.manifest import read_manifest
from toolchain.errors import BundleError, UsageError
from toolchain.request import Request


@contextmanager
def whole_or_nothing(request: Request) -> Iterator[Path]:
    """A new folder that takes the place of the request's once all has gone well; the old one is moved aside first."""
    destination = request.folder.resolve()
    if destination.exists() and not _may_replace(destination, request):
        raise UsageError(f"{destination} exists and is not a bundle to be replaced: choose another folder with -o")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent)
    except OSError as error:
        raise UsageError(f"{destination} cannot be written ({error}): choose another folder with -o") from error
    with scratch:
        folder = Path(scratch.name) / "bundle"
        folder.mkdir()
        yield folder
        if destination.exists():
            destination.rename(Path(scratch.name) / "replaced")
        folder.rename(destination)


def _may_replace(path: Path, request: Request) -> bool:
    """An empty folder, graphs that an earlier --stop-after wrote or, by a whole build, a bundle."""
    if not path.is_dir():
        return False
    graphs = {f"{name}.onnx" for name in ("forward", "training", "step", "infer")}
    return {found.name for found in path.iterdir()} <= graphs or (request.stop_after is None and _is_bundle(path))


def _is_bundle(path: Path) -> bool:
    try:
        read_manifest(path / "manifest.json")
    except BundleError:
        return False
    return True
