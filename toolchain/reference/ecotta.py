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
from toolchain.reference.step import EagerStep, StepResult, root_mean_square

META_NETWORKS = "meta_networks"


def confident_entropy(logits: Tensor, share: float) -> Tensor:
    """Entropy in nats of the samples whose entropy is below share · ln C, summed and divided by N: [N, C] to []."""
    log_probabilities = logits.log_softmax(1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    certain = entropy < share * math.log(logits.shape[1])
    return (entropy * certain).sum() / len(logits)


class EcottaStep(EagerStep):
    """As EagerStep, with the loss L = confident entropy + weight · Σₖ mean |x̃ₖ − xₖ|.

    The model has its meta networks in `meta_networks`, each called with x̃ₖ₋₁ and xₖ. The k-th distance moves the
    parameters of the k-th network only: it is computed once more from both as constants.
    """

    weight = 0.5
    share = 0.4

    def _differentiate(
        self, images: Tensor, prune_ratios: Tensor | Sequence[float]
    ) -> tuple[StepResult, PrunedForward]:
        ratios = torch.as_tensor(prune_ratios, dtype=torch.float32).tolist()
        with PrunedForward(self._layers, ratios, "batch", self._half) as forward, self._observed() as seen:
            logits = self._model(images)
        entropy = confident_entropy(logits, self.share)
        with PrunedForward(self._layers, ratios, "batch", self._half):
            distances = [(network(*inputs) - inputs[1]).abs().mean() for network, inputs in seen]
        distance = self.weight * torch.stack(distances).sum()
        parts = [self._gradients_of(part) for part in (entropy, distance)]
        grads = {name: parts[0][name] + parts[1][name] for name in self._trained}
        rms = torch.tensor([root_mean_square(grads[layer.weight_name]) for layer in self._layers], dtype=torch.float32)
        kept = torch.tensor(forward.kept_elements(), dtype=torch.int64)
        loss = (entropy + distance).detach()
        return StepResult(logits.detach(), loss, grads, rms, kept), forward

    @contextmanager
    def _observed(self) -> Iterator[list[tuple[nn.Module, tuple[Tensor, Tensor]]]]:
        """Each meta network that runs meanwhile, and what it is given, as constants."""
        seen: list[tuple[nn.Module, tuple[Tensor, Tensor]]] = []

        def observe(network: nn.Module, inputs: Any) -> None:
            seen.append((network, (inputs[0].detach(), inputs[1].detach())))

        networks = self._model.get_submodule(META_NETWORKS).children()
        handles = [network.register_forward_pre_hook(observe) for network in networks]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()
