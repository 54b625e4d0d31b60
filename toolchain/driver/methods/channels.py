"""MECTA: which channels are kept for the backward pass is drawn anew for each batch, and statistics follow each.

Source: Hong et al., ICLR 2023, "MECTA: Memory-Economic Continual Test-Time Model Adaptation".
"""

from typing import Dict

import numpy as np

from toolchain.driver.methods.procedure import Procedure
from toolchain.driver.step import Feeds, StepResult, channels_of


class Channels(Procedure):
    """The step keeps the channels with the largest keys of each layer."""

    def prepare(self, images: np.ndarray) -> Dict[str, np.ndarray]:
        return {"channel_keys": self.random.random(channels_of(self.step.facts), np.float32)}

    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        """The statistics, which normalise, follow also where no sample is selected."""
        return self.step.run(images, ratios, learning_rate, feeds, follow=True)
