"""Consistency: an image and an augmentation of it are to be told alike.

The loss is L(x) + λ H(p(x), p(T(x))) with H(p, q) = -Σ p log q, and its gradient goes through both p and q. That is
the sum of the gradients of L(x) - λ Σ p(x) log q with q held fast and of -λ Σ p log q(T(x)) with p held fast. So one
view at a time is enough, and half of the memory that a graph of both would keep.
Source: Ma et al., CVPR 2025, "SURGEON", section 3.4.
"""

import numpy as np

from toolchain.driver.methods.optimizers import clear_gradients, descend
from toolchain.driver.methods.procedure import Procedure, log_softmax, softmax
from toolchain.driver.step import Feeds, StepResult


class TwoViews(Procedure):
    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        clear_gradients(self.step)
        result = self.differentiate(images, ratios)
        descend(self.step, self.numbers, learning_rate)
        return result

    def differentiate(self, images: np.ndarray, ratios: np.ndarray) -> StepResult:
        """Adds the gradient of the whole loss to the buffers; the result is that of the images themselves."""
        weight = np.float32(self.numbers["consistency"] * self.classes)
        view = self.augment(images)
        other = log_softmax(self.step.predict(view))
        result = self.step.run(images, ratios, 0.0, {"log_targets": weight * other}, follow=True)
        nothing = np.zeros(len(images), np.float32)
        targets = weight * softmax(result.logits)
        self.step.run(view, ratios, 0.0, {"targets": targets, "sample_mask": nothing}, follow=False)
        return result
