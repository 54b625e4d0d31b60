"""ResNets for 32x32 images: He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2.

6n+2 layers: one 3x3 convolution, three groups of n basic blocks with 16, 32 and 64 channels, average pooling, one
linear layer. Shortcuts are the paper's option A and hold no parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def subsample_and_widen(x: Tensor, stride: int, added_channels: int) -> Tensor:
    """Option A: [N, C, H, W] to [N, C + added_channels, H / stride, W / stride], half the zeros on each side."""
    before = added_channels // 2
    return functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, added_channels - before))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each with BatchNorm, added to the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added_channels = stride, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        residual: Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(residual + self.shortcut(x))
        return result

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.stride == 1 else subsample_and_widen(x, self.stride, self.added_channels)


class CifarResNet(nn.Module):
    """A ResNet of 6 * blocks + 2 layers."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = group(blocks, 16, 16, stride=1)
        self.layer2 = group(blocks, 16, 32, stride=2)
        self.layer3 = group(blocks, 32, 64, stride=2)
        self.linear = nn.Linear(64, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images, float [N, 3, 32, 32], to logits [N, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
        return logits


def group(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first one carries the stride and the change of width."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def initialise(module: nn.Module) -> None:
    """He et al. 2015, "Delving Deep into Rectifiers": normal weights with variance 2 / fan-in."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def resnet20() -> CifarResNet:
    """0.27 million parameters, 10 classes; random weights."""
    return CifarResNet(blocks=3)


def resnet56() -> CifarResNet:
    """0.85 million parameters, 10 classes; random weights."""
    return CifarResNet(blocks=9)
