"""The results that a bundle recorded when it was built, and the step that gave them."""

from pathlib import Path
from typing import Dict, Mapping

import numpy as np

from toolchain.driver.persistent import PER_BATCH
from toolchain.driver.step import Step, StepResult
from toolchain.errors import BundleError


def read_reference(path: Path) -> Dict[str, np.ndarray]:
    """Inputs and outputs by name. Raises BundleError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path} cannot be read ({error}): build the bundle again") from error


def run_recorded(step: Step, recorded: Mapping[str, np.ndarray]) -> StepResult:
    """The same step once more."""
    feeds = {role: recorded[role] for role in PER_BATCH if role in recorded}
    return step.run(recorded["images"], recorded["prune_ratios"], float(recorded["learning_rate"][0]), feeds)
