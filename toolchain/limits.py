"""What a bundle may need: the budget that the user gave, and the memory of the board."""

from targets import Target
from toolchain.driver.budget import Work, probe_work, require_fit
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.manifest import Manifest
from toolchain.errors import TargetError


def check_budget(manifest: Manifest) -> None:
    """Raises UsageError, with the numbers, for a budget that no prune ratios meet."""
    if manifest.memory_budget is not None:
        step = manifest.native or manifest.step
        require_fit(Work(manifest, step, manifest.batch), manifest.memory_budget)
        require_fit(probe_work(manifest, step, manifest.method.probe.samples), manifest.memory_budget)


def check_memory(manifest: Manifest, target: Target) -> None:
    """Raises TargetError for a step that, with every activation pruned, takes more than the board has."""
    memory = target.number("memory_gib")
    step = manifest.native or manifest.step
    state = sum(tensor.bytes for tensor in step.inputs if "N" not in tensor.shape)
    needed = state + Work(manifest, step, manifest.batch).least.bytes
    if memory is not None and needed > memory * 2**30:
        raise TargetError(
            f"{target.name} has {memory:g} GiB of memory; {manifest.model.name} with its optimizer takes "
            f"{format_bytes(state)} and a step on {manifest.batch} images at least {format_bytes(needed - state)}: "
            "lower --batch or --image-size, or choose another target"
        )
