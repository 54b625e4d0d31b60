"""Compare every graph of a bundle with eager PyTorch; exit 1 if one differs by more than its limit."""

import argparse
from pathlib import Path

from toolchain.cli.arguments import count
from toolchain.driver.output import emit, progress


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--samples", type=count, default=2, help="images a batch (default: 2)")
    parser.add_argument("--batches", type=count, default=2, help="batches, the worst of which counts (default: 2)")


def run(options: argparse.Namespace) -> int:
    from toolchain.verification import verify  # imports torch

    announce = lambda name: progress(f"{name} ...")  # noqa: E731
    checks = verify(options.bundle, options.samples, options.batches, announce)
    progress("")
    passed = all(check.passed for check in checks)
    width = max(len(check.name) for check in checks)
    lines = [
        f"{'pass' if i.passed else 'FAIL'}  {i.name:<{width}}  {i.measured:.2e}  (limit {i.limit:.2e})" for i in checks
    ]
    listed = [vars(check) for check in checks]
    emit({"passed": passed, "checks": listed}, "\n".join([*lines, "passed" if passed else "failed"]), options.json)
    return 0 if passed else 1
