"""Which of the papers' data sets is nearest to what a model was trained on."""

import torch

from toolchain.methods.declaration import Setting
from toolchain.models.registry import LoadedModel

LARGE = 64
"""Pixels a side, from which images are more like ImageNet's than CIFAR's."""

BY_CLASSES: dict[int, Setting] = {10: "cifar10", 100: "cifar100"}


def nearest_setting(model: LoadedModel) -> Setting:
    """By the number of classes; where that is neither 10 nor 100, by the size of the images."""
    otherwise: Setting = "imagenet" if model.image_size >= LARGE else "cifar10"
    return BY_CLASSES.get(_count_classes(model), otherwise)


def _count_classes(model: LoadedModel) -> int:
    """0 for a model that gives no logits: its trace is refused in words."""
    images = torch.zeros(1, 3, model.image_size, model.image_size)
    try:
        with torch.no_grad():
            logits = model.module(images)
    except Exception:
        return 0
    return logits.shape[-1] if isinstance(logits, torch.Tensor) and logits.dim() == 2 else 0
