"""LAW: tensors that matter to the pseudo-labels learn fast, the others slowly.

Source: Park et al., WACV 2024, "Layer-wise Auto-Weighting for Non-Stationary Test-Time Adaptation", section 3.
"""

import numpy as np

from toolchain.driver.methods.optimizers import clear_gradients, gradient_of
from toolchain.driver.methods.two_views import TwoViews
from toolchain.driver.step import Feeds, StepResult


class LayerRates(TwoViews):
    """The first step of a new Adam, which is what each batch makes, is g / (|g| + ε)."""

    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        self._inform(images, ratios)
        clear_gradients(self.step)
        result = self.differentiate(images, ratios)
        epsilon = np.float32(self.numbers["epsilon"])
        for (name, parameter), weight in zip(self.step.of("parameter").items(), self._weights()):
            gradient = gradient_of(self.step, name)
            parameter -= np.float32(learning_rate * weight) * gradient / (np.abs(gradient) + epsilon)
        return result

    def _inform(self, images: np.ndarray, ratios: np.ndarray) -> None:
        """Adds the mean square of each tensor's gradient of the cross-entropy to the pseudo-labels."""
        labels = self.step.predict(images).argmax(axis=1)
        targets = np.eye(self.classes, dtype=np.float32)[labels]
        clear_gradients(self.step)
        nothing = np.zeros(len(images), np.float32)
        self.step.run(images, ratios, 0.0, {"targets": targets, "sample_mask": nothing}, follow=False)
        squares = [np.square(gradient_of(self.step, name)).mean() for name in self.step.of("parameter")]
        self.step.tensors["fisher.average"] += np.array(squares, np.float32)

    def _weights(self) -> np.ndarray:
        """From 0 for the tensor with the least information to 1 for that with the most, float64 [P]."""
        roots = np.sqrt(self.step.tensors["fisher.average"].astype(np.float64))
        spread = float(roots.max() - roots.min())
        scaled = (roots - roots.min()) / spread if spread else np.ones_like(roots)
        return np.asarray(scaled ** self.numbers["temperature"])
