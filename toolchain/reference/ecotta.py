"""EcoTTA's step: confident entropy through the whole network, and each meta network held to its frozen part.

Song et al., CVPR 2023, "EcoTTA: Memory-Efficient Continual Test-time Adaptation via Self-distilled Regularization",
section 3.2 and algorithm 1, in one optimizer step.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.reference.interception import PrunedForward
from toolchain.reference.objective import Feeds, Outcome, entropies
from toolchain.reference.step import EagerStep, StepResult

META_NETWORKS = "meta_networks"


def confident_entropy(logits: Tensor, share: float) -> Tensor:
    """Entropy in nats of the samples whose entropy is below share · ln C, summed and divided by N: [N, C] to [].

    (Equation 7; Niu et al., ICML 2022, choose the share.)
    """
    entropy = entropies(logits)
    certain = entropy < share * math.log(logits.shape[1])
    return (entropy * certain).sum() / len(logits)


class EcottaStep(EagerStep):
    """As EagerStep, with the loss L = confident entropy + weight · Σₖ mean |x̃ₖ − xₖ|.

    The model has its meta networks in `meta_networks`, each called with x̃ₖ₋₁ and xₖ. The k-th distance moves the
    parameters of the k-th network only: it is computed once more from both as constants.
    """

    share = 0.4

    def __init__(self, *arguments: Any, weight: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight = weight

    def differentiate(
        self,
        images: Tensor,
        prune_ratios: Tensor | Sequence[float],
        feeds: Feeds | None = None,
        select: bool = True,
    ) -> tuple[StepResult, PrunedForward]:
        with self._observed() as seen:
            logits, forward = self.forward(images, prune_ratios)
        entropy = confident_entropy(logits, self.share)
        with self.pruning(prune_ratios):
            distances = [(network(*inputs) - inputs[1]).abs().mean() for network, inputs in seen]
        distance = self.weight * torch.stack(distances).sum()
        parts = [self.gradients_of(part) for part in (entropy, distance)]
        grads = {name: parts[0][name] + parts[1][name] for name in self.trained}
        return self.describe(logits, Outcome(entropy + distance, None), grads, forward), forward

    @contextmanager
    def _observed(self) -> Iterator[list[tuple[nn.Module, tuple[Tensor, Tensor]]]]:
        """Each meta network that runs meanwhile, and what it is given, as constants."""
        seen: list[tuple[nn.Module, tuple[Tensor, Tensor]]] = []

        def observe(network: nn.Module, inputs: Any) -> None:
            seen.append((network, (inputs[0].detach(), inputs[1].detach())))

        networks = self.model.get_submodule(META_NETWORKS).children()
        handles = [network.register_forward_pre_hook(observe) for network in networks]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()
