"""Eager PyTorch: entropy, backward and Adam on the parameters that the bundle trains, BatchNorm on batch statistics.

Called as `python -m toolchain.measurement.eager FOLDER --batch N --steps K --threads T`, with FOLDER as `prepare` wrote
it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolchain.measurement.prepare import Prepared, read_prepared
from toolchain.measurement.stopwatch import Step, report
from toolchain.measurement.task import Load, read_task
from toolchain.reference.objective import entropy


def full_step(prepared: Prepared, images: Tensor, load: Load) -> Step:
    """Fine-tunes whatever the bundle trains."""
    module = prepared.module.train()
    train_only(module, prepared.trained)
    return entropy_step(module, images)


def train_only(module: nn.Module, names: list[str]) -> None:
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in names)


def build_adam(module: nn.Module) -> torch.optim.Optimizer:
    """Over whatever trains."""
    return torch.optim.Adam([parameter for parameter in module.parameters() if parameter.requires_grad], 1e-5)


def entropy_step(module: nn.Module, images: Tensor) -> Step:
    optimizer = build_adam(module)

    def step() -> None:
        entropy(module(images)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(make: Callable[[Prepared, Tensor, Load], Step]) -> None:
    """Reports on the step that `make` builds, by the arguments of this process."""
    task = read_task()
    torch.set_num_threads(task.load.threads)
    torch.manual_seed(0)
    prepared = read_prepared(task.folder)
    images = torch.randn(task.load.batch, 3, prepared.side, prepared.side)
    report(make(prepared, images, task.load), task.load.steps)


if __name__ == "__main__":
    measure(full_step)
