"""Wide ResNets for 32x32 images: Zagoruyko & Komodakis 2016, "Wide Residual Networks", section 2.

WRN-d-k has d = 6n + 4 layers: one 3x3 convolution, three groups of n blocks with 16k, 32k and 64k channels, BatchNorm,
average pooling and one linear layer. Its blocks normalise before they convolve. Tensors are named as in RobustBench's
checkpoints; images come in as its users feed them, see the registry.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.cifar_resnet import initialise


class Block(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, twice; where the width changes, the shortcut is a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        active = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        result: Tensor = shortcut + self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return result


class Group(nn.Module):
    """Blocks of one width; the first one carries the stride and the change of width."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = Block(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


class WideResNet(nn.Module):
    """depth: 6n + 4 layers. width: how many times wider than a ResNet."""

    def __init__(self, depth: int, width: int, classes: int = 10) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Group(blocks, 16, 16 * width, stride=1)
        self.block2 = Group(blocks, 16 * width, 32 * width, stride=2)
        self.block3 = Group(blocks, 32 * width, 64 * width, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(64 * width, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Images, float [N, 3, 32, 32], to logits [N, classes]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = functional.adaptive_avg_pool2d(self.relu(self.bn1(x)), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def wrn_28_10(classes: int = 10) -> WideResNet:
    """36.5 million parameters; random weights."""
    return WideResNet(28, 10, classes)


def wrn_40_2(classes: int = 10) -> WideResNet:
    """2.2 million parameters; random weights."""
    return WideResNet(40, 2, classes)
