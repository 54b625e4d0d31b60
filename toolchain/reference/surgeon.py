"""The whole adaptation loop of SURGEON: importance, prune ratios, step, batch after batch.

Ma et al., CVPR 2025, "SURGEON: Memory-Adaptive Fully Test-Time Adaptation via Dynamic Activation Sparsity".
"""

from typing import Literal

import torch
from torch import Tensor

from toolchain.methods.declaration import Probe
from toolchain.reference.controller import surgeon_ratios
from toolchain.reference.step import EagerStep, StepResult


class SurgeonReference:
    """Adapts `step` to a stream of batches.

    elements_per_sample [L]: size of each layer's input for one image. importance: where the RMS of the gradients comes
    from. "probe": a pass over a few images of the batch before each step, pruned at `probe.prune_ratio`. "previous":
    the step before, and for the first step a probe.
    """

    def __init__(
        self,
        step: EagerStep,
        elements_per_sample: Tensor,
        probe: Probe,
        importance: Literal["probe", "previous"] = "probe",
    ) -> None:
        self._step, self._elements, self._probe, self._importance = step, elements_per_sample, probe, importance
        self._grad_rms: Tensor | None = None

    def adapt(self, images: Tensor, probe_indices: Tensor | None = None) -> StepResult:
        """One step on images [N, 3, H, W]; the prediction is the `logits` of the result, from before the update.

        probe_indices int64 [probe.samples]: which images the probe sees, where there is one; None stands for a
        random choice by torch's generator.
        """
        if self._importance == "probe" or self._grad_rms is None:
            self._grad_rms = self._measure(images, probe_indices)
        result = self._step.run(images, surgeon_ratios(self._grad_rms, self._elements))
        self._grad_rms = result.grad_rms
        return result

    def _measure(self, images: Tensor, indices: Tensor | None) -> Tensor:
        if indices is None:
            indices = torch.randperm(len(images))[: self._probe.samples]
        ratios = torch.full((len(self._elements),), self._probe.prune_ratio)
        return self._step.gradients(images[indices], ratios).grad_rms
