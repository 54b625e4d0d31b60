"""CoTTA: a student learns from a slow teacher, and forgets back towards what was shipped.

Source: Wang et al., CVPR 2022, "Continual Test-Time Domain Adaptation", sections 3.2 and 3.3.
"""

from dataclasses import replace
from typing import Dict

import numpy as np

from toolchain.driver.manifest import Manifest
from toolchain.driver.methods.procedure import Procedure, log_softmax, softmax
from toolchain.driver.persistent import TEACHER
from toolchain.driver.step import Feeds, Step, StepResult


class Teacher(Procedure):
    """The step's own parameters are the student's. The prediction is the teacher's."""

    def __init__(self, manifest: Manifest, step: Step, random: np.random.Generator) -> None:
        super().__init__(manifest, step, random)
        self._shipped = step.shipped("parameter")
        self._logits = np.zeros((0, self.classes), np.float32)

    def prepare(self, images: np.ndarray) -> Dict[str, np.ndarray]:
        self._logits = self._teach(images)
        if not self.numbers["symmetric"]:
            return {"targets": softmax(self._logits)}
        return {"targets": softmax(self._logits) / 2, "log_targets": log_softmax(self._logits) / 2}

    def learn(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, feeds: Feeds) -> StepResult:
        result = self.step.run(images, ratios, learning_rate, feeds)
        decay, share = np.float32(self.numbers["decay"]), self.numbers["restore"]
        for name, student in self.step.of("parameter").items():
            teacher = self._teacher(name)
            teacher *= decay
            teacher += (1 - decay) * student
            forgotten = self.random.random(student.shape, np.float32) < share
            np.copyto(student, self._shipped[name], where=forgotten)
        return replace(result, logits=self._logits)

    def _teach(self, images: np.ndarray) -> np.ndarray:
        """The teacher's logits [N, C]: the mean over augmentations where the shipped model is unsure of the batch."""
        teacher = {name: self._teacher(name) for name in self._shipped}
        confidence = softmax(self.step.predict(images, self._shipped)).max(axis=1).mean()
        if confidence >= self.numbers["confidence"]:
            return self.step.predict(images, teacher)
        views = int(self.numbers["views"])
        total = self.step.predict(self.augment(images), teacher)
        for _ in range(views - 1):
            total += self.step.predict(self.augment(images), teacher)
        return total / np.float32(views)

    def _teacher(self, parameter: str) -> np.ndarray:
        return self.step.tensors[f"{parameter}.{TEACHER}"]
