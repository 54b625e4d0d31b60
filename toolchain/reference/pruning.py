"""Which elements of a saved activation are kept: the largest of the whole batch.

Chen et al., ICLR 2023, "DropIT: Dropping Intermediate Tensors for Memory-Efficient DNN Training", section 3.2 (top-k by
magnitude); Ma et al., CVPR 2025, "SURGEON: Memory-Adaptive Fully Test-Time Adaptation", section 3 (a ratio per layer).
"""

import math

import numpy as np
import torch
from torch import Tensor


def kept_count(elements: int, ratio: float) -> int:
    """How many of `elements` remain at a prune ratio in [0, 1]. A ratio held as float32 has to be passed unrounded."""
    return math.floor(elements * (1.0 - ratio))


def as_half(x: Tensor) -> Tensor:
    """`x` as half precision stores it, in its own dtype: rounded to nearest, beyond ±65504 the largest number."""
    limit = torch.finfo(torch.float16).max
    return x.clamp(-limit, limit).to(torch.float16).to(x.dtype)


def keep_largest(x: Tensor, count: int) -> Tensor:
    """A copy of `x`, any shape, with all but the `count` elements of largest magnitude set to 0.

    Among equal magnitudes the first in row-major order are kept, so that exactly `count` remain.
    """
    if count == 0:
        return torch.zeros_like(x)
    if count == x.numel():
        return x.clone()
    magnitude = x.abs().flatten()
    place = magnitude.numel() - count
    smallest_kept = float(np.partition(magnitude.numpy(), place)[place])
    larger, equal = magnitude > smallest_kept, magnitude == smallest_kept
    first_equal = equal & (equal.cumsum(0) <= count - larger.sum())
    return x.where((larger | first_equal).view(x.shape), 0.0)
