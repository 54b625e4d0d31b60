"""What the graphs of a method read beside the model's own tensors."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from toolchain.artifacts import Traced
from toolchain.methods.declaration import Method

BATCH = 64


def find_constants(
    module: nn.Module, traced: Traced, trained: Sequence[str], method: Method, images: np.ndarray | None
) -> Mapping[str, np.ndarray]:
    """By name. images: of the source, float32 [M, 3, H, W], preprocessed, where the method has an anchor."""
    found = {f"{name}.source": traced.tensors[name] for name in _copied(traced, trained, method)}
    if method.anchor is not None and images is not None:
        information = fisher_information(module, trained, images[: method.anchor.samples])
        found.update({f"{name}.fisher": array for name, array in information.items()})
    return found


def fisher_information(module: nn.Module, names: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The mean over batches of the squared gradient of the cross-entropy to the model's own labels, by parameter.

    BatchNorm normalises with the statistics of the batch, also for methods that mix them with the source's, which these
    images are of. Source: EATA (Niu et al., ICML 2022) section 4.3.
    """
    model = copy.deepcopy(module).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.train()
    parameters = [dict(model.named_parameters())[name] for name in names]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    batches = list(_batches(images))
    for batch in batches:
        logits = model(torch.from_numpy(batch))
        loss = nn.functional.cross_entropy(logits, logits.argmax(1))
        for square, gradient in zip(squares, torch.autograd.grad(loss, parameters), strict=True):
            square += gradient.square() / len(batches)
    return {name: square.detach().numpy() for name, square in zip(names, squares, strict=True)}


def _copied(traced: Traced, trained: Sequence[str], method: Method) -> Iterator[str]:
    """The tensors whose first values the method goes on reading."""
    if method.anchor is not None:
        yield from trained
    if method.source_samples:
        yield from (name for name in traced.tensors if name not in traced.parameters)


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))
