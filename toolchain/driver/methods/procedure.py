"""The plain way: a batch is one run of the step."""

from typing import Dict

import numpy as np

from toolchain.driver.manifest import Manifest
from toolchain.driver.methods.augmentation import Augmentation
from toolchain.driver.step import Feeds, Step, StepResult


class Procedure:
    """Runs the batches of a method. `prepare`, then `learn`."""

    def __init__(self, manifest: Manifest, step: Step, random: np.random.Generator) -> None:
        self.step = step
        self.numbers = manifest.method.numbers
        self.classes = manifest.model.classes
        self.augment = Augmentation(manifest.model.preprocessing, random)
        self.random = random

    def prepare(self, images: np.ndarray) -> Dict[str, np.ndarray]:
        """What the step needs beside float32 images [N, C, H, W]: by role, a row for each image."""
        return {}

    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        """Predict and adapt. ratios: float32 [L]. feeds: what `prepare` gave. The logits are the prediction."""
        return self.step.run(images, ratios, learning_rate, feeds)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, C]."""
    return np.asarray(np.exp(log_softmax(logits)))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, float32 [N, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
