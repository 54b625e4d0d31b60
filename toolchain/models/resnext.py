"""ResNeXt for 32x32 images: Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks", section 5.

9n + 2 layers: one 3x3 convolution, three groups of n bottleneck blocks with 256, 512 and 1024 channels, average
pooling and one linear layer. Tensors are named as in RobustBench's checkpoints of AugMix (Hendrycks et al. 2020).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.cifar_resnet import initialise

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1 down, 3x3 in `groups` groups, 1x1 up, each with BatchNorm, added to the shortcut."""

    def __init__(self, inputs: int, planes: int, groups: int, group_width: int, stride: int) -> None:
        super().__init__()
        inner, outputs = planes * group_width // 64 * groups, planes * EXPANSION
        self.conv_reduce = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv_conv = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv_expand = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn_expand = nn.BatchNorm2d(outputs)
        self.relu3 = nn.ReLU()
        self.downsample = None if stride == 1 and inputs == outputs else projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, 4 * planes, H / stride, W / stride]."""
        residual = self.relu1(self.bn_reduce(self.conv_reduce(x)))
        residual = self.relu2(self.bn(self.conv_conv(residual)))
        residual = self.bn_expand(self.conv_expand(residual))
        result: Tensor = self.relu3(residual + (x if self.downsample is None else self.downsample(x)))
        return result


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The shortcut where the shape changes."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class CifarResNeXt(nn.Module):
    """depth: 9n + 2 layers. groups: the paper's cardinality. group_width: channels of a group in the first blocks."""

    def __init__(self, depth: int, groups: int, group_width: int, classes: int = 10) -> None:
        super().__init__()
        blocks = (depth - 2) // 9
        self.conv_1_3x3 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn_1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.stage_1 = stage(blocks, 64, 64, groups, group_width, stride=1)
        self.stage_2 = stage(blocks, 256, 128, groups, group_width, stride=2)
        self.stage_3 = stage(blocks, 512, 256, groups, group_width, stride=2)
        self.classifier = nn.Linear(256 * EXPANSION, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images, float [N, 3, 32, 32], to logits [N, classes]."""
        x = self.relu(self.bn_1(self.conv_1_3x3(x)))
        x = self.stage_3(self.stage_2(self.stage_1(x)))
        logits: Tensor = self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
        return logits


def stage(blocks: int, inputs: int, planes: int, groups: int, group_width: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first one carries the stride and the change of width."""
    first = Bottleneck(inputs, planes, groups, group_width, stride)
    rest = (Bottleneck(planes * EXPANSION, planes, groups, group_width, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def resnext29_4x32d(classes: int = 10) -> CifarResNeXt:
    """6.8 million parameters with 10 classes; random weights."""
    return CifarResNeXt(29, groups=4, group_width=32, classes=classes)
