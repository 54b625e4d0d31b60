"""EcoTTA's meta networks, trained on source data before the model is traced.

Song et al., CVPR 2023, "EcoTTA", section 3.1: a tenth of the source data nearly suffices.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from toolchain.errors import InputError
from toolchain.methods.declaration import WarmUp
from toolchain.models.meta_networks import MetaNetwork, meta_networks, with_meta_networks
from toolchain.models.registry import LoadedModel
from toolchain.models.source_data import SourceData, prepared

SEED = 0

CALIBRATION = 256
"""Images from which the first values are taken."""

SHARE = 0.1
"""How large the correction is at first, as a share of what it corrects: the model starts close to the original."""


def warm_up(
    model: LoadedModel, declared: WarmUp, source: SourceData, announce: Callable[[str], None] = lambda progress: None
) -> LoadedModel:
    """The model with trained meta networks. announce: called with the progress. Deterministic.

    Raises InputError where a label is none of the model's classes, and ModelError for a model without residual blocks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = with_meta_networks(model.module, model.image_size)
        calibrate(module, prepared(source.images[:CALIBRATION], model.preprocessing))
        _check_labels(module, model, source)
        _train(module, declared, source, partial(_augmented, model=model), announce)
    return dataclasses.replace(model, module=module.eval().requires_grad_(True))


def calibrate(module: nn.Module, images: Tensor) -> None:
    """First values with which x̃ₖ is xₖ and a small correction, for these images [N, 3, H, W].

    Each BN(xₖ) takes its own mean and deviation as bias and weight, so that it changes nothing.
    """

    def fit(network: nn.Module, inputs: Any) -> None:
        assert isinstance(network, MetaNetwork)
        variance, mean = torch.var_mean(inputs[1], (0, 2, 3), correction=0)
        deviation = (variance + network.norm.eps).sqrt()
        for target, value in (
            (network.norm.weight, deviation),
            (network.norm.bias, mean),
            (network.norm.running_mean, mean),
            (network.norm.running_var, variance),
            (network.conv_norm.weight, SHARE * deviation),
        ):
            assert target is not None
            target.copy_(value)

    networks = meta_networks(module)
    handles = [network.register_forward_pre_hook(fit) for network in networks]
    with torch.no_grad():
        _adapting(module)(images)
    for handle in handles:
        handle.remove()


def _adapting(module: nn.Module) -> nn.Module:
    """The frozen part in evaluation mode, the meta networks with the statistics of the batch."""
    module.eval()
    for network in meta_networks(module):
        network.train()
    return module


def _check_labels(module: nn.Module, model: LoadedModel, source: SourceData) -> None:
    with torch.no_grad():
        classes = module(prepared(source.images[:2], model.preprocessing)).shape[1]
    if (largest := int(source.labels.max())) >= classes:
        raise InputError(f"--source has the label {largest}, and {model.name} has {classes} classes, counted from 0")


def _train(
    module: nn.Module,
    declared: WarmUp,
    source: SourceData,
    augment: Callable[[Tensor], Tensor],
    announce: Callable[[str], None],
) -> None:
    networks = nn.ModuleList(meta_networks(_adapting(module).requires_grad_(False))).requires_grad_(True)
    optimizer = torch.optim.SGD(networks.parameters(), declared.learning_rate, declared.momentum)
    steps = declared.epochs * -(-len(source.images) // declared.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(declared.epochs):
        total = 0.0
        for chosen in _batches(len(source.images), declared.batch):
            loss = functional.cross_entropy(module(augment(source.images[chosen])), source.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        announce(f"warm-up {epoch + 1}/{declared.epochs}: loss {total / len(source.images):.3f}")


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """All images once, in random order; what is left over for a batch of one joins no batch."""
    order = torch.randperm(count)
    return (chosen for chosen in order.split(size) if len(chosen) > 1)


AUGMENT = v2.Compose(
    [
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.4),
        v2.RandomApply([v2.GaussianBlur(3)], p=0.2),
        v2.RandomGrayscale(0.1),
    ]
)
"""The paper's augmentations, section 4."""


def _augmented(images: Tensor, model: LoadedModel) -> Tensor:
    return prepared(torch.stack([AUGMENT(image) for image in images]), model.preprocessing)
