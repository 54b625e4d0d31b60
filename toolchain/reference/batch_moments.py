"""What a BatchNorm saw, and how its running statistics follow it."""

from dataclasses import dataclass

from torch import Tensor


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
        variance = channels.var(1, correction=min(1, channels.shape[1] - 1))
        return BatchMoments(running_mean, running_variance, channels.mean(1), variance)

    def follow(self, momentum: float) -> None:
        """running ← (1 − momentum) · running + momentum · batch, in place, as torch.nn.BatchNorm2d."""
        self.running_mean.mul_(1 - momentum).add_(self.mean, alpha=momentum)
        self.running_variance.mul_(1 - momentum).add_(self.variance, alpha=momentum)
