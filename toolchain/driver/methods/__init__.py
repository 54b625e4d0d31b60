"""What a device does with a batch beside the step's graph: a file for each way, named by the manifest."""

from typing import Dict, Type

import numpy as np

from toolchain.driver.manifest import Manifest
from toolchain.driver.methods.channels import Channels
from toolchain.driver.methods.layer_rates import LayerRates
from toolchain.driver.methods.procedure import Procedure
from toolchain.driver.methods.sharpness import Sharpness
from toolchain.driver.methods.teacher import Teacher
from toolchain.driver.methods.two_views import TwoViews
from toolchain.driver.step import Step
from toolchain.errors import BundleError

PROCEDURES: Dict[str, Type[Procedure]] = {
    "step": Procedure,
    "channels": Channels,
    "teacher": Teacher,
    "sharpness": Sharpness,
    "layer_rates": LayerRates,
    "two_views": TwoViews,
}


def open_procedure(manifest: Manifest, step: Step, random: np.random.Generator) -> Procedure:
    """Raises BundleError for one that this driver does not know."""
    name = manifest.method.procedure
    if name not in PROCEDURES:
        raise BundleError(f"manifest.json: the procedure {name!r} is unknown here: update toolchain")
    return PROCEDURES[name](manifest, step, random)
