"""The tool from end to end: build for a board, adapt without torch, say what was saved.

    python -m benchmarks.demo [--device-python PYTHON]

Builds ResNet-50 for the Xavier NX, then adapts the small ResNet that ships with the project to real photographs whose
contrast has collapsed, in an environment that holds numpy, onnxruntime and Pillow.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from toolchain.corruptions import corrupt
from toolchain.driver.bytesize import format_bytes
from toolchain.errors import ModelError
from toolchain.pipeline import Report, Request, build

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / "cifar10_sample.npz"
CORRUPTION, SEVERITY, BATCH = "contrast", 5, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-python", default=".venv/device/bin/python")
    python = parser.parse_args().device_python
    with tempfile.TemporaryDirectory() as folder:
        show_resnet50(python, Path(folder))
        show_adaptation(python, Path(folder))


def show_resnet50(python: str, folder: Path) -> None:
    report = build_resnet50(folder / "resnet50-xavier-nx")
    size = format_bytes(report.bytes)
    print(f"resnet50 for xavier-nx: built in {report.seconds:.0f} s, a folder of {size}")
    (pruned,) = device(python, report.folder, "bench", "--batch", "4", "--steps", "1", "--prune-ratio", "0.9")
    dense, kept, peak = (format_bytes(pruned[key]) for key in ("dense_bytes", "kept_bytes", "peak_step_bytes"))
    print(
        f"  one step on 4 images keeps {kept} of {dense} of activations, and needs {peak} in all (ratio 0.9, measured)"
    )


def build_resnet50(folder: Path) -> Report:
    """With the published weights; where they cannot be downloaded, with random ones, which cost the same."""
    try:
        return build(Request("resnet50", "xavier-nx", output=folder))
    except ModelError as error:
        print(f"  {error}\n  going on with random weights: speed and memory do not depend on them")
        return build(Request("resnet50", "xavier-nx", weights="none", output=folder))


def show_adaptation(python: str, folder: Path) -> None:
    content = np.load(SAMPLE)
    images, labels = content["images"], content["labels"]
    photos = write_photos(corrupt(images, CORRUPTION, SEVERITY), folder / "photos")
    bundle = build(Request("cifar_resnet20", "xavier-nx", batch=BATCH, output=folder / "cifar")).folder
    where = ("--images", str(photos), "--batch", str(BATCH), "--state", str(folder / "state"))
    (before,) = device(python, bundle, "infer", *where)
    batches = list(device(python, bundle, "adapt", *where))
    predictions = [label for batch in batches for label in batch["predictions"]]
    kept, dense = (max(batch[key] for batch in batches) for key in ("kept_bytes", "dense_bytes"))
    print(f"cifar_resnet20 on {len(labels)} photographs, {CORRUPTION} at severity {SEVERITY}, without torch:")
    print(f"  error before adaptation {error(before['predictions'], labels):.1f} %")
    print(f"  error while adapting    {error(predictions, labels):.1f} %")
    print(f"  activations kept        {format_bytes(kept)} of {format_bytes(dense)}")


def write_photos(images: np.ndarray, folder: Path) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:04}.png")
    return folder


def device(python: str, bundle: Path, *arguments: str) -> Iterator[Any]:
    """The JSON objects that a command of the bundle prints, run apart from this environment."""
    done = subprocess.run(
        [python, "-I", str(bundle), *arguments, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return map(json.loads, done.stdout.splitlines())


def error(predictions: list[int], labels: np.ndarray) -> float:
    """Percent."""
    return 100 * float(np.mean(np.array(predictions) != labels))


if __name__ == "__main__":
    main()
