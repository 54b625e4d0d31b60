"""What a BatchNorm saw, and how its running statistics follow it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


def biased_moments(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and mean squared deviation of any `x` over `axes`, which remain, of length 1."""
    mean = x.mean(tuple(axes), keepdim=True)
    return mean, (x - mean).square().mean(tuple(axes), keepdim=True)


@dataclass(frozen=True)
class BatchMoments:
    """`mean` and unbiased `variance` [C] of one batch, and the buffers [C] of the BatchNorm that saw it."""

    running_mean: Tensor
    running_variance: Tensor
    mean: Tensor
    variance: Tensor

    @staticmethod
    def of(x: Tensor, running_mean: Tensor, running_variance: Tensor) -> "BatchMoments":
        """Of an activation [N, C, ...]; where a channel has a single element, its variance is 0."""
        channels = x.detach().transpose(0, 1).flatten(1)
        count = channels.shape[1]
        mean, variance = (moment.squeeze(1) for moment in biased_moments(channels, [1]))
        return BatchMoments(running_mean, running_variance, mean, variance * count / max(1, count - 1))

    def follow(self, momentum: float) -> None:
        """running ← (1 − momentum) · running + momentum · batch, in place, as torch.nn.BatchNorm2d."""
        self.running_mean.mul_(1 - momentum).add_(self.mean, alpha=momentum)
        self.running_variance.mul_(1 - momentum).add_(self.variance, alpha=momentum)
