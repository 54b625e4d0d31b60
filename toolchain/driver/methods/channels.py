"""MECTA: which channels are kept for the backward pass is drawn anew for each batch.

Source: Hong et al., ICLR 2023, "MECTA: Memory-Economic Continual Test-Time Model Adaptation".
"""

from typing import Dict

import numpy as np

from toolchain.driver.methods.procedure import Procedure
from toolchain.driver.step import channels_of


class Channels(Procedure):
    """The step keeps the channels with the largest keys of each layer."""

    def prepare(self, images: np.ndarray) -> Dict[str, np.ndarray]:
        return {"channel_keys": self.random.random(channels_of(self.step.facts), np.float32)}
