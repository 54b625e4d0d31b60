"""Error of SURGEON on corrupted CIFAR-10: through the bundle without torch, and by the eager reference.

    python -m benchmarks.accuracy CIFAR10.npz [--device-python PYTHON] [--images 2000] [--batch 50] ...

Both see the same batches, and probe the same samples. Each corruption starts from the source model; with --continual
the state goes on from one to the next.
Prints one row a corruption, error in percent: the source model, batch statistics alone, bundle, eager.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toolchain.corruptions import corrupt
from toolchain.driver.manifest import Manifest, read_manifest
from toolchain.pipeline import Request, build
from toolchain.reference.surgeon import SurgeonReference
from toolchain.verification.case import Case

CORRUPTIONS = ("gaussian_noise", "contrast", "defocus_blur")


@dataclass(frozen=True)
class Stream:
    """Images float32 [M, 3, 32, 32], preprocessed, and their labels [M]."""

    corruption: str
    images: np.ndarray
    labels: np.ndarray

    def error(self, predictions: np.ndarray) -> float:
        """Percent."""
        return 100 * float(np.mean(predictions != self.labels))


def streams(data: Path, facts: Manifest, corruptions: Sequence[str], count: int, severity: int) -> Iterator[Stream]:
    content = np.load(data)
    images, labels = content["x_test"][:count], content["y_test"][:count]
    seen = facts.model.preprocessing
    for name in corruptions:
        pixels = corrupt(images, name, severity).astype(np.float32) / np.float32(255)
        normalised = (pixels - np.array(seen.mean, np.float32)) / np.array(seen.std, np.float32)
        yield Stream(name, np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32), labels)


def run_bundle(python: str, bundle: Path, stream: Stream, arguments: Sequence[str]) -> np.ndarray:
    """Predictions [M] of `adapt` or `infer` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", stream.images)
        command = [python, "-I", str(bundle), *arguments, "--images", f"{folder}/images.npy", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return np.array([label for row in rows for label in row["predictions"]])


def run_eager(reference: SurgeonReference, stream: Stream, batch: int, samples: int, seed: int) -> np.ndarray:
    """Predictions [M]; the probe sees the samples that the driver's would."""
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, len(stream.images), batch):
        images = torch.from_numpy(stream.images[start : start + batch])
        chosen = torch.from_numpy(random.permutation(len(images))[:samples])
        found.append(reference.adapt(images, chosen).logits.argmax(1).numpy())
    return np.concatenate(found)


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    bundle = folder / "bundle"
    build(Request("cifar_resnet20", "xavier-nx", train=options.train, batch=options.batch, output=bundle))
    facts = read_manifest(bundle / "manifest.json")
    case = Case.load(bundle, 1, 1)
    rate = options.learning_rate or facts.method.learning_rate
    elements = torch.tensor([layer.elements_per_sample for layer in facts.layers])

    def new_reference() -> SurgeonReference:
        return SurgeonReference(case.eager(torch.float32, rate), elements, case.method.probe)

    reference = new_reference()
    common = ["--batch", str(options.batch), "--threads", "1"]
    adapt = ["adapt", *common, "--learning-rate", str(rate), "--seed", str(options.seed), "--state"]
    still = ["adapt", *common, "--learning-rate", "0", "--prune-ratio", "1", "--state"]
    infer = ["infer", *common, "--state", f"{folder}/none"]
    rows = []
    for index, stream in enumerate(streams(options.data, facts, options.corruptions, options.images, options.severity)):
        if not options.continual:
            reference = new_reference()
        state = f"{folder}/state-{0 if options.continual else index}"
        runs = {
            "source": run_bundle(options.device_python, bundle, stream, infer),
            "bn": run_bundle(options.device_python, bundle, stream, [*still, f"{folder}/{stream.corruption}"]),
            "bundle": run_bundle(options.device_python, bundle, stream, [*adapt, state]),
            "eager": run_eager(reference, stream, options.batch, case.method.probe.samples, options.seed),
        }
        errors = {name: round(stream.error(predictions), 2) for name, predictions in runs.items()}
        differing = int((runs["bundle"] != runs["eager"]).sum())
        rows.append({"corruption": stream.corruption, **errors, "differing_predictions": differing})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="cifar10.npz, as obtain_cifar10.py writes it")
    parser.add_argument("--device-python", default=".venv/device/bin/python")
    parser.add_argument("--corruptions", nargs="+", default=CORRUPTIONS)
    parser.add_argument("--severity", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--train", choices=("full", "bn"), default="full")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--continual", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    columns = ("source", "bn", "bundle", "eager")
    print(json.dumps({"mean": {name: round(float(np.mean([row[name] for row in rows])), 2) for name in columns}}))


if __name__ == "__main__":
    main()
