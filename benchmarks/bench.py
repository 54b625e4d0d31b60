"""Time and memory of a step at ratio 0.9 beside dense ONNX Runtime training and eager PyTorch.

    python -m benchmarks.bench [--rounds 3]

Every figure is a median over rounds in which the contestants take turns, each in a fresh process.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from toolchain.pipeline import Request, build

CASES = (("resnet50", 8), ("cifar_resnet56", 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default="3")
    rounds = parser.parse_args().rounds
    for model, batch in CASES:
        print(f"{model}, batch {batch}, ratio 0.9, one thread", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = build(Request(model, "xavier-nx", weights="none", batch=batch, output=Path(folder) / "bundle"))
            command = [sys.executable, "-m", "toolchain", "bench", str(report.folder), "--against", "dense,eager"]
            subprocess.run([*command, "--prune-ratio", "0.9", "--rounds", rounds, "--steps", "2"], check=True)


if __name__ == "__main__":
    main()
