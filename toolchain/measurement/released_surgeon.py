"""How the code that SURGEON's authors released keeps activations, in eager PyTorch; for measuring what that costs.

Written from its behaviour. Of the input of every convolution, linear layer and BatchNorm it keeps the largest values
and, beside each, its place as int32. All of it hangs on the node of the graph, not only as saved tensors, and so lives
until the graph itself goes. BatchNorm keeps a clone of its whole input besides, for the exact gradient of that input.
Pruning nothing keeps every value with every place. No bias gets a gradient.

One thing is not as in that code: the gradient of BatchNorm is that of its forward pass, which costs the same.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Kept(NamedTuple):
    """values [k] and int32 places [k] of a tensor of `shape`."""

    values: Tensor
    places: Tensor
    shape: torch.Size

    @classmethod
    def of(cls, x: Tensor, ratio: float) -> "Kept":
        """The floor(n · (1 − ratio)) elements of largest magnitude, of the whole batch."""
        flat = x.detach().reshape(-1)
        places = flat.abs().topk(math.floor(flat.numel() * (1 - ratio)), sorted=False).indices
        return cls(flat[places], places.to(torch.int32), x.shape)

    def dense(self) -> Tensor:
        """Zero wherever nothing was kept."""
        flat = self.values.new_zeros(self.shape.numel())
        return flat.scatter_(0, self.places.long(), self.values).view(self.shape)


class Conv(Function):
    """torch.nn.functional.conv2d: the gradient of the weight from what was kept, that of the input exact."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, ratio: float, options: Any) -> Tensor:
        ctx.kept, ctx.options = Kept.of(x, ratio), options
        ctx.save_for_backward(weight)
        return functional.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,), gradient = ctx.saved_tensors, gradients[0]
        wanted = [*ctx.needs_input_grad[:2], False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            gradient, ctx.kept.dense(), weight, None, *_geometry(ctx.options), wanted
        )
        return grad_x, grad_weight, None, None, None


class Linear(Function):
    """torch.nn.functional.linear: the gradient of the weight from what was kept, that of the input exact."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, ratio: float) -> Tensor:
        ctx.kept = Kept.of(x, ratio)
        ctx.save_for_backward(weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,), gradient = ctx.saved_tensors, gradients[0]
        grad_weight = gradient.flatten(0, -2).T @ ctx.kept.dense().flatten(0, -2)
        return gradient @ weight, grad_weight, None, None


class BatchNorm(Function):
    """torch.nn.functional.batch_norm on batch statistics: γ from what was kept, the input from a clone of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, ratio: float, options: Any) -> Tensor:
        running_mean, running_variance, momentum, epsilon = options
        ctx.kept, ctx.clone, ctx.epsilon = Kept.of(x, ratio), x.clone(), epsilon
        output, mean, deviation = torch.native_batch_norm(
            x, weight, bias, running_mean, running_variance, True, momentum, epsilon
        )
        ctx.save_for_backward(weight, mean, deviation)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight, mean, deviation), gradient = ctx.saved_tensors, gradients[0]
        grad_x = torch.ops.aten.native_batch_norm_backward(
            gradient, ctx.clone, weight, None, None, mean, deviation, True, ctx.epsilon, [True, False, False]
        )[0]
        standardised = (ctx.kept.dense() - mean.view(-1, 1, 1)) * deviation.view(-1, 1, 1)
        return grad_x, (gradient * standardised).sum((0, 2, 3)), None, None, None


class ReleasedForward(TorchFunctionMode):
    """While it is active, every layer keeps its input pruned at its ratio: 0 if it has none, 1 if it is frozen.

    ratios: by the identity of a layer's weight. Afterwards `sizes` has each layer's weight and elements of its input.
    """

    def __init__(self, ratios: dict[int, float]) -> None:
        super().__init__()
        self.ratios = ratios
        self.sizes: list[tuple[Tensor, int]] = []
        self.replacements = {
            functional.conv2d: self.conv2d,
            functional.linear: self.linear,
            functional.batch_norm: self.batch_norm,
        }

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.replacements.get(function, function)(*args, **(kwargs or {}))

    def ratio(self, x: Tensor, weight: Tensor) -> float:
        if not weight.requires_grad:
            return 1.0
        self.sizes.append((weight, x.numel()))
        return self.ratios.get(id(weight), 0.0)

    def conv2d(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *options: Any) -> Any:
        return Conv.apply(x, weight, bias, self.ratio(x, weight), options)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return Linear.apply(x, weight, bias, self.ratio(x, weight))

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Any:
        """On the statistics of the batch, whatever `training` says."""
        options = (running_mean, running_var, momentum, eps)
        return BatchNorm.apply(x, weight, bias, self.ratio(x, weight), options)


def _geometry(options: tuple[Any, ...]) -> tuple[Any, ...]:
    """stride, padding, dilation, transposed, output padding and groups of a convolution's backward pass."""
    *pairs, groups = options + (1, 0, 1, 1)[len(options) :]
    stride, padding, dilation = ([pair] * 2 if isinstance(pair, int) else list(pair) for pair in pairs)
    return stride, padding, dilation, False, [0, 0], groups
