"""TENT in eager PyTorch: entropy, and Adam on the scale and shift of BatchNorm; all else is frozen.

Called as `python -m toolchain.measurement.tent FOLDER --batch N --steps K --threads T`, with FOLDER as `prepare` wrote
it. (Wang et al., ICLR 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization", section 3.)
"""

from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.measurement.eager import entropy_step, measure, train_only
from toolchain.measurement.prepare import Prepared
from toolchain.measurement.stopwatch import Step
from toolchain.measurement.task import Load


def tent_step(prepared: Prepared, images: Tensor, load: Load) -> Step:
    """Raises ModelError for a model without BatchNorm."""
    module = prepared.module.train()
    train_only(module, affine_parameters(module))
    forget_running_statistics(module)
    return entropy_step(module, images)


def affine_parameters(module: nn.Module) -> list[str]:
    """The names of the scales and shifts of every BatchNorm."""
    names = [f"{name}.{kind}" for name, _ in batch_norms(module) for kind in ("weight", "bias")]
    if not names:
        raise ModelError("TENT adapts BatchNorm, and this model has none: leave it out of --against")
    return names


def forget_running_statistics(module: nn.Module) -> None:
    """Only the batch's own count, in every mode."""
    for _, norm in batch_norms(module):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = None


def batch_norms(module: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    return [(name, found) for name, found in module.named_modules() if isinstance(found, nn.BatchNorm2d)]


if __name__ == "__main__":
    measure(tent_step)
