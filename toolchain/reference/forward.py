"""Prediction where nothing trains: `source`, and `bn`, whose running statistics follow the batches.

Schneider et al., NeurIPS 2020, "Improving Robustness Against Common Corruptions by Covariate Shift Adaptation".
"""

import copy

import torch
from torch import Tensor, nn

from toolchain.reference.interception import Mixing, PrunedForward
from toolchain.reference.objective import entropy
from toolchain.reference.step import StepResult


class ForwardReference:
    """Predicts with its own copy of a model. statistics: what BatchNorm normalises with, "running" or "batch".

    samples: as how many images the first running statistics count beside a batch; 0: not at all. momentum: how fast the
    running ones follow the batches.
    """

    def __init__(self, model: nn.Module, statistics: str, samples: int = 0, momentum: float = 0.1) -> None:
        self.model = copy.deepcopy(model).eval()
        self._statistics, self._momentum = statistics, momentum
        self._mixing = Mixing.of(self.model, samples)

    def adapt(self, images: Tensor) -> StepResult:
        """The `logits` of one batch [N, 3, H, W], whose statistics the running ones follow, and their entropy."""
        with torch.no_grad(), PrunedForward([], [], self._statistics, mixing=self._mixing) as forward:
            logits: Tensor = self.model(images)
        forward.follow(self._momentum)
        nothing = torch.zeros(0)
        return StepResult(logits, entropy(logits), {}, nothing, nothing.long())
