"""CoTTA: a student learns from a slow teacher, and forgets back towards what was shipped.

Wang et al., CVPR 2022, "Continual Test-Time Domain Adaptation", sections 3.2 and 3.3.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from toolchain.methods.declaration import Teacher
from toolchain.reference.objective import Feeds
from toolchain.reference.step import EagerStep, StepResult

Chances = Callable[[Tensor], Tensor]
"""A tensor to numbers from 0 to 1 of its shape: those below the share to restore are restored."""


class TeacherReference:
    """augment: a batch of images to another view of it. chances: see Chances, called once a parameter and batch."""

    def __init__(
        self, student: EagerStep, numbers: Teacher, augment: Callable[[Tensor], Tensor], chances: Chances
    ) -> None:
        self.student, self._numbers = student, numbers
        self._augment, self._chances = augment, chances
        self.teacher, self._anchor = (copy.deepcopy(student.model) for _ in range(2))
        self._taught = torch.zeros(0)

    def prepare(self, images: Tensor) -> Feeds:
        """What the student is to learn of one batch [N, 3, H, W]."""
        self._taught = self._teach(images)
        if not self._numbers.symmetric:
            return {"targets": self._taught.softmax(1)}
        return {"targets": self._taught.softmax(1) / 2, "log_targets": self._taught.log_softmax(1) / 2}

    def learn(
        self, images: Tensor, ratios: Tensor | Sequence[float], learning_rate: float | None, feeds: Feeds
    ) -> StepResult:
        """The batch that was prepared; the `logits` of the result are the teacher's."""
        result = self.student.run(images, ratios, learning_rate, feeds)
        with torch.no_grad():
            self._follow()
            self._restore()
        return replace(result, logits=self._taught)

    def _teach(self, images: Tensor) -> Tensor:
        confidence = self._predict(self._anchor, images).softmax(1).amax(1).mean()
        if confidence >= self._numbers.confidence:
            return self._predict(self.teacher, images)
        views = [self._predict(self.teacher, self._augment(images)) for _ in range(self._numbers.views)]
        return torch.stack(views).mean(0)

    def _predict(self, model: nn.Module, images: Tensor) -> Tensor:
        """Logits with the parameters of `model`, normalised as the student's."""
        with torch.no_grad(), self.student.pruning([0.0] * len(self.student.layers)):
            logits: Tensor = functional_call(self.student.model, dict(model.named_parameters()), (images,))
        return logits

    def _follow(self) -> None:
        """teacher ← decay · teacher + (1 − decay) · student."""
        taught = dict(self.teacher.named_parameters())
        for name, parameter in self.student.trained.items():
            taught[name].mul_(self._numbers.decay).add_(parameter, alpha=1 - self._numbers.decay)

    def _restore(self) -> None:
        shipped = dict(self._anchor.named_parameters())
        for name, parameter in self.student.trained.items():
            parameter.copy_(shipped[name].where(self._chances(parameter) < self._numbers.restore, parameter))
