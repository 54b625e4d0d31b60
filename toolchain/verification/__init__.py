"""Every graph of a bundle against eager PyTorch, on the same seeded inputs."""

from collections.abc import Callable, Iterator
from pathlib import Path

from toolchain.errors import UsageError
from toolchain.verification.case import Case
from toolchain.verification.check import Check
from toolchain.verification.gradients import check_gradients
from toolchain.verification.inference import check_inference
from toolchain.verification.optimizer import check_optimizer
from toolchain.verification.updates import check_updates

CHECKS: tuple[Callable[[Case], Iterator[Check]], ...] = (
    check_inference,
    check_gradients,
    check_updates,
    check_optimizer,
)


def verify(
    bundle: Path, samples: int = 2, batches: int = 2, announce: Callable[[str], None] = lambda name: None
) -> list[Check]:
    """All checks of the bundle. samples: images a batch. announce: called with what is checked before it is.

    Raises BundleError, ModelError.
    """
    if samples < 1 or batches < 1:
        raise UsageError("--samples and --batches start at 1")
    case = Case.load(bundle, samples, batches)
    found = []
    for check in CHECKS:
        announce(check.__name__.replace("_", " "))
        found += list(check(case))
    return found


__all__ = ["Check", "verify"]
