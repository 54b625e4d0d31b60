"""SURGEON in eager PyTorch as its released code runs it: a probe before every step, and Adam.

Called as `python -m toolchain.measurement.surgeon FOLDER --batch N --steps K --threads T [--prune-ratio auto|P]`, with
FOLDER as `prepare` wrote it. The probe prunes nothing and is differentiated with `retain_graph`, and its loss keeps the
whole of its graph alive until the loss of the step takes the name. With a number for a ratio there is no probe.
(Ma et al., CVPR 2025, "SURGEON: Memory-Adaptive Fully Test-Time Adaptation via Dynamic Activation Sparsity".)
"""

import math

import torch
from torch import Tensor, nn

from toolchain.measurement.eager import build_adam, measure, train_only
from toolchain.measurement.prepare import Prepared
from toolchain.measurement.released_surgeon import ReleasedForward
from toolchain.measurement.stopwatch import Step
from toolchain.measurement.task import Load
from toolchain.reference.objective import entropy

PROBED, SMALL_BATCH = 10, 8
"""Images that the probe sees; of a batch up to the small one, as on the authors' board, a single one."""


class SurgeonStep:
    """ratio: None for a probe."""

    def __init__(self, module: nn.Module, images: Tensor, ratio: float | None) -> None:
        self.module, self.images, self.ratio = module, images, ratio
        self.optimizer = build_adam(module)

    def __call__(self) -> None:
        if self.ratio is None:
            probe = ReleasedForward({})
            logits = self._forward(probe, self._sample())
            loss = entropy(logits)
            loss.backward(retain_graph=True)
            ratios = released_ratios(probe)
        else:
            ratios = {id(weight): self.ratio for weight in self.module.parameters()}
        logits = self._forward(ReleasedForward(ratios), self.images)
        self.optimizer.zero_grad()
        loss = entropy(logits)  # and here the probe's graph goes
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _forward(self, mode: ReleasedForward, images: Tensor) -> Tensor:
        with mode:
            logits: Tensor = self.module(images)
        return logits

    def _sample(self) -> Tensor:
        count = PROBED if len(self.images) > SMALL_BATCH else 1
        return self.images[torch.randperm(len(self.images))[:count]]


def released_ratios(probe: ReleasedForward) -> dict[int, float]:
    """p = 1 − score / max(score) by the identity of the weight; score = ‖g‖ / √n · ln(Σm / m)."""
    total = sum(size for _, size in probe.sizes)
    scores = {id(weight): _root_mean_square(weight.grad) * math.log(total / size) for weight, size in probe.sizes}
    highest = max(scores.values()) or 1.0
    return {weight: 1 - score / highest for weight, score in scores.items()}


def _root_mean_square(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else gradient.norm().item() / math.sqrt(gradient.numel())


def surgeon_step(prepared: Prepared, images: Tensor, load: Load) -> Step:
    module = prepared.module.train()
    train_only(module, prepared.trained)
    return SurgeonStep(module, images, None if load.prune_ratio == "auto" else float(load.prune_ratio))


if __name__ == "__main__":
    measure(surgeon_step)
