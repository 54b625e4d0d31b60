"""SAR: a gradient from where the loss is sharpest nearby, and a fresh start once the loss has collapsed.

Source: Niu et al., ICLR 2023, "Towards Stable Test-Time Adaptation in Dynamic Wild World", section 4.
"""

from typing import Dict

import numpy as np

from toolchain.driver.methods.optimizers import clear_gradients, descend, gradient_of
from toolchain.driver.methods.procedure import Procedure
from toolchain.driver.step import Feeds, StepResult


class Sharpness(Procedure):
    """Where either pass selects no sample, parameters and optimizer stay as they are."""

    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        clear_gradients(self.step)
        first = self.step.run(images, ratios, learning_rate, feeds)
        if first.selected and first.is_finite:
            second = self._differentiate_above(images, ratios, first)
            if second.selected:
                descend(self.step, self.numbers, learning_rate)
                self._watch(second.loss)
        return first

    def _differentiate_above(self, images: np.ndarray, ratios: np.ndarray, first: StepResult) -> StepResult:
        """The gradient at θ + ρ g / ‖g‖, of the samples that both passes select; leaves θ as it was."""
        assert first.sample_weights is not None
        parameters = self.step.of("parameter")
        before = {name: array.copy() for name, array in parameters.items()}
        self._climb(parameters)
        clear_gradients(self.step)
        mask = (first.sample_weights > 0).astype(np.float32)
        second = self.step.run(images, ratios, 0.0, {"sample_mask": mask}, follow=False)
        for name, array in before.items():
            np.copyto(parameters[name], array)
        return second

    def _climb(self, parameters: Dict[str, np.ndarray]) -> None:
        gradients = {name: gradient_of(self.step, name) for name in parameters}
        norm = np.sqrt(sum(float(np.square(gradient, dtype=np.float64).sum()) for gradient in gradients.values()))
        for name, array in parameters.items():
            array += np.float32(self.numbers["radius"] / (norm + 1e-12)) * gradients[name]

    def _watch(self, loss: float) -> None:
        """Follow the loss of the second pass; set everything back to what was shipped when it is too low."""
        average, decay = self.step.tensors["loss.average"], self.numbers["decay"]
        average[:] = loss if average[0] == 0 else decay * average[0] + (1 - decay) * loss
        if average[0] < self.numbers["reset_below"]:
            self.step.restore(None)
