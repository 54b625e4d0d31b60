"""What is minimised: entropy, of all samples or of some, and cross-entropy with given probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.methods.declaration import Method, Selection

Feeds = Mapping[str, Tensor]
"""targets, log_targets [N, C]; sample_mask [N], 1 for each sample whose entropy may count."""


def entropies(logits: Tensor) -> Tensor:
    """The entropy in nats of softmax(logits), [N, C] to [N].

    (Wang et al., ICLR 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization", equation 1.)
    """
    log_probabilities = logits.log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)


def entropy(logits: Tensor) -> Tensor:
    """Mean over the batch, [N, C] to []."""
    return entropies(logits).mean()


@dataclass(frozen=True)
class Outcome:
    """loss []; weights [N]: of each sample in the entropy, None where all count alike."""

    loss: Tensor
    weights: Tensor | None


class Objective:
    """The loss of a method; it remembers the mean probabilities of what was learnt from, where that decides."""

    def __init__(self, method: Method | None = None) -> None:
        self._terms = ("entropy",) if method is None else method.loss
        self._selection = method.selection if method is not None else None
        self._masked = method is not None and method.update == "driver"
        self._average: Tensor | None = None

    def __call__(self, logits: Tensor, feeds: Feeds, select: bool = True) -> Outcome:
        """What is not fed adds nothing. select: whether the method's choice of samples holds; else all count alike."""
        loss = logits.new_zeros(())
        weights = self._weights(logits.detach(), feeds) if select else None
        if "entropy" in self._terms:
            loss = loss + (entropy(logits) if weights is None else (weights * entropies(logits)).sum())
        if "targets" in self._terms and "targets" in feeds:
            loss = loss - (feeds["targets"] * logits.log_softmax(1)).sum(1).mean()
        if "log_targets" in self._terms and "log_targets" in feeds:
            loss = loss - (feeds["log_targets"] * logits.softmax(1)).sum(1).mean()
        return Outcome(loss, weights)

    def remember(self, logits: Tensor, weights: Tensor | None) -> None:
        """The moving average of probabilities: 0.9 of what it was, and 0.1 of the mean of what counted."""
        if self._selection is None or self._selection.redundancy is None or weights is None or not weights.any():
            return
        mean = logits.detach().softmax(1)[weights > 0].mean(0)
        self._average = mean if self._average is None else 0.9 * self._average + 0.1 * mean

    def _weights(self, logits: Tensor, feeds: Feeds) -> Tensor | None:
        if "entropy" not in self._terms or (self._selection is None and not self._masked):
            return None
        kept = feeds["sample_mask"].bool() if self._masked else torch.ones(len(logits), dtype=torch.bool)
        return self._select(logits, kept, self._selection or Selection(share=None))

    def _select(self, logits: Tensor, kept: Tensor, chosen: Selection) -> Tensor:
        """(Niu et al., ICML 2022, "Efficient Test-Time Model Adaptation without Forgetting", equations 3 to 6.)"""
        found = entropies(logits)
        weights = torch.ones_like(found)
        if chosen.share is not None:
            limit = chosen.share * torch.tensor(float(logits.shape[1])).log().to(found)
            kept = kept & (found < limit)
            weights = (limit - found).exp() if chosen.weighted else weights
        if chosen.redundancy is not None and self._average is not None:
            cosine = torch.nn.functional.cosine_similarity(logits.softmax(1), self._average[None], dim=1)
            kept = kept & (cosine.abs() < chosen.redundancy)
        return weights.where(kept, 0.0) / kept.sum().clamp(min=1)
