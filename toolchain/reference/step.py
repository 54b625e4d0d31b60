"""One adaptation step in eager PyTorch: forward, loss, backward, optimizer update, running statistics."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.methods.declaration import Adam, Optimizer
from toolchain.reference.interception import Layer, PrunedForward


@dataclass(frozen=True)
class StepResult:
    """What a step computed with the parameters that it began with: N images, C classes, L layers.

    In the model's dtype: logits [N, C]; loss [], nats; grads: by name of the trained parameter, of its shape.
    grad_rms float32 [L]: root mean square of the gradient of each layer's weight. kept_elements int64 [L]: how many
    elements of each layer's input, of the whole batch, were kept.
    """

    logits: Tensor
    loss: Tensor
    grads: dict[str, Tensor]
    grad_rms: Tensor
    kept_elements: Tensor


def entropy(logits: Tensor) -> Tensor:
    """Mean over the batch of the entropy in nats of softmax(logits), [N, C] to [].

    (Wang et al., ICLR 2021, "Tent: Fully Test-Time Adaptation by Entropy Minimization", equation 1.)
    """
    log_probabilities = logits.log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1).mean()


def root_mean_square(x: Tensor) -> float:
    """sqrt(mean(x²)) of all elements."""
    return x.double().square().mean().sqrt().item()


def find_layer(trained: dict[str, nn.Parameter], name: str, kind: str) -> Layer:
    """The layer whose weight is the parameter `name` + ".weight" or, as in an attention's `in_proj`, "_weight"."""
    for weight in (f"{name}.weight", f"{name}_weight"):
        if weight in trained:
            return Layer(name, kind, weight, trained[weight])
    raise ModelError(f"layer {name!r} has no trained weight: name only layers whose weight is among what is trained")


def build_optimizer(declared: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if isinstance(declared, Adam):
        betas = (declared.beta1, declared.beta2)
        return torch.optim.Adam(parameters, declared.learning_rate, betas, declared.epsilon)
    return torch.optim.SGD(parameters, declared.learning_rate, declared.momentum)


class EagerStep:
    """Adapts its own copy of a model, in the model's dtype, with every module but BatchNorm in evaluation mode.

    layers: (name, kind) of each place whose saved activation is pruned, see `find_layer` and `Layer`, in the order of
    the prune ratios. trained: names of parameters; all others are frozen. statistics: what BatchNorm normalises with,
    "batch" or "running". momentum: how fast the running statistics follow the batches. half: whether saved activations
    are rounded to half precision.
    Raises ModelError where the model lacks a layer or parameter, or does not use it in its forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[tuple[str, str]],
        trained: Sequence[str],
        optimizer: Optimizer,
        statistics: str = "batch",
        momentum: float = 0.1,
        half: bool = False,
    ) -> None:
        self._model = copy.deepcopy(model).eval()
        parameters = dict(self._model.named_parameters())
        if unknown := set(trained) - set(parameters):
            raise ModelError(f"the model has no parameters {sorted(unknown)}: check the names of what is trained")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in trained)
        self._trained = {name: parameters[name] for name in trained}
        self._layers = [find_layer(self._trained, name, kind) for name, kind in layers]
        self._optimizer = build_optimizer(optimizer, list(self._trained.values()))
        self._learning_rate = optimizer.learning_rate
        self._statistics, self._momentum, self._half = statistics, momentum, half

    def run(
        self, images: Tensor, prune_ratios: Tensor | Sequence[float], learning_rate: float | None = None
    ) -> StepResult:
        """One step on images [N, 3, H, W] with ratios [L] in [0, 1], rounded to float32; updates the model.

        learning_rate: of this step; None stands for the optimizer's own.
        """
        result, forward = self._differentiate(images, prune_ratios)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate if learning_rate is None else learning_rate
        for name, parameter in self._trained.items():
            parameter.grad = result.grads[name]
        self._optimizer.step()
        for moments in forward.moments:
            moments.follow(self._momentum)
        return result

    def gradients(self, images: Tensor, prune_ratios: Tensor | Sequence[float]) -> StepResult:
        """As `run`, but parameters, optimizer and running statistics stay as they are."""
        return self._differentiate(images, prune_ratios)[0]

    def parameters(self) -> dict[str, Tensor]:
        """A copy of every parameter and every running statistic, by name."""
        buffers = {name: b for name, b in self._model.named_buffers() if name.endswith(("running_mean", "running_var"))}
        tensors = {**dict(self._model.named_parameters()), **buffers}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def _differentiate(
        self, images: Tensor, prune_ratios: Tensor | Sequence[float]
    ) -> tuple[StepResult, PrunedForward]:
        ratios = torch.as_tensor(prune_ratios, dtype=torch.float32).tolist()
        with PrunedForward(self._layers, ratios, self._statistics, self._half) as forward:
            logits = self._model(images)
        loss = entropy(logits)
        grads = self._gradients_of(loss)
        rms = torch.tensor([root_mean_square(grads[layer.weight_name]) for layer in self._layers], dtype=torch.float32)
        kept = torch.tensor(forward.kept_elements(), dtype=torch.int64)
        return StepResult(logits.detach(), loss.detach(), grads, rms, kept), forward

    def _gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        grads = torch.autograd.grad(loss, list(self._trained.values()), allow_unused=True)
        found = {name: grad for name, grad in zip(self._trained, grads, strict=True) if grad is not None}
        if unused := set(self._trained) - set(found):
            raise ModelError(f"the loss does not depend on {sorted(unused)}: take them out of what is trained")
        return found
