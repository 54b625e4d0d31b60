"""Eager PyTorch: entropy, backward and Adam on the parameters that the bundle trains, BatchNorm on batch statistics.

Called as `python -m toolchain.measurement.eager FOLDER BATCH STEPS THREADS`, with FOLDER as `prepare` wrote it.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from toolchain.measurement.stopwatch import report
from toolchain.reference.step import entropy


def main(folder: Path, batch: int, steps: int, threads: int) -> None:
    torch.set_num_threads(threads)
    saved = torch.load(folder / "eager.pt", weights_only=False)  # our own file, written in this run
    module: nn.Module = saved["module"].train()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in saved["trained"])
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 1e-5)
    images = torch.randn(batch, 3, saved["side"], saved["side"], generator=torch.Generator().manual_seed(0))

    def step() -> None:
        entropy(module(images)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    report(step, steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
