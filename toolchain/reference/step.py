"""One adaptation step in eager PyTorch: forward, loss, backward, optimizer update, running statistics."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.methods.declaration import Adam, Optimizer
from toolchain.reference.interception import Layer, Mixing, PrunedForward
from toolchain.reference.objective import Feeds, Objective, Outcome


@dataclass(frozen=True)
class StepResult:
    """What a step computed with the parameters that it began with: N images, C classes, L layers.

    In the model's dtype: logits [N, C]; loss [], nats; grads: by name of the trained parameter, of its shape.
    grad_rms float32 [L]: root mean square of the gradient of each layer's weight. kept_elements int64 [L]: how many
    elements of each layer's input, of the whole batch, were kept. weights [N]: of the samples, see Outcome.
    """

    logits: Tensor
    loss: Tensor
    grads: dict[str, Tensor]
    grad_rms: Tensor
    kept_elements: Tensor
    weights: Tensor | None = None

    @property
    def learns(self) -> bool:
        """Whether there is a sample to learn from."""
        return self.weights is None or bool(self.weights.any())


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
    return torch.optim.SGD(parameters, declared.learning_rate, declared.momentum, nesterov=declared.nesterov)


@dataclass(frozen=True)
class Anchor:
    """The penalty strength · Σ F (θ − θ0)² on the trained parameters; fisher, start: F and θ0 by name."""

    strength: float
    fisher: Mapping[str, Tensor]
    start: Mapping[str, Tensor]

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """(Niu et al., ICML 2022, "Efficient Test-Time Model Adaptation without Forgetting", equation 8.)"""
        pulls = [
            (self.fisher[name] * (parameter - self.start[name]) ** 2).sum() for name, parameter in parameters.items()
        ]
        return self.strength * torch.stack(pulls).sum()


class EagerStep:
    """Adapts its own copy of a model, in the model's dtype, with every module but BatchNorm in evaluation mode.

    layers: (name, kind) of each place whose saved activation is pruned, see `find_layer` and `Layer`, in the order of
    the prune ratios. trained: names of parameters; all others are frozen. statistics: what BatchNorm normalises with,
    "batch" or "running". momentum: how fast the running statistics follow the batches. half: whether saved activations
    are rounded to half precision. objective: what is minimised; None: the mean entropy.
    source_samples: as how many images the first running statistics count beside a batch; 0: not at all.
    Raises ModelError where the model lacks a layer or parameter, or does not use it in its forward pass.
    """

    follows_always = False
    """Whether the running statistics follow a batch of which no sample is selected, too."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[tuple[str, str]],
        trained: Sequence[str],
        optimizer: Optimizer,
        statistics: str = "batch",
        momentum: float = 0.1,
        half: bool = False,
        objective: Objective | None = None,
        anchor: Anchor | None = None,
        source_samples: int = 0,
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        parameters = dict(self.model.named_parameters())
        if unknown := set(trained) - set(parameters):
            raise ModelError(f"the model has no parameters {sorted(unknown)}: check the names of what is trained")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in trained)
        self.trained = {name: parameters[name] for name in trained}
        self.layers = [find_layer(self.trained, name, kind) for name, kind in layers]
        self._optimizer = build_optimizer(optimizer, list(self.trained.values()))
        self._learning_rate = optimizer.learning_rate
        self._statistics, self._momentum, self._half = statistics, momentum, half
        self._objective, self._anchor = objective or Objective(), anchor
        self._mixing = Mixing.of(self.model, source_samples)

    def run(
        self,
        images: Tensor,
        prune_ratios: Tensor | Sequence[float],
        learning_rate: float | None = None,
        feeds: Feeds | None = None,
    ) -> StepResult:
        """One step on images [N, 3, H, W] with ratios [L] in [0, 1], rounded to float32; updates the model.

        learning_rate: of this step; None stands for the optimizer's own. Where no sample is selected, no parameter
        changes.
        """
        result, forward = self.differentiate(images, prune_ratios, feeds)
        if result.learns:
            self.update(result.grads, learning_rate)
            self._objective.remember(result.logits, result.weights)
        if result.learns or self.follows_always:
            self.follow(forward)
        return result

    def gradients(
        self, images: Tensor, prune_ratios: Tensor | Sequence[float], feeds: Feeds | None = None
    ) -> StepResult:
        """As `run`, but parameters, optimizer and running statistics stay as they are."""
        return self.differentiate(images, prune_ratios, feeds)[0]

    def probe(self, images: Tensor, prune_ratios: Tensor | Sequence[float], feeds: Feeds | None = None) -> StepResult:
        """As `gradients`, with every sample counting alike."""
        return self.differentiate(images, prune_ratios, feeds, select=False)[0]

    def update(self, gradients: Mapping[str, Tensor], learning_rate: float | None = None) -> None:
        """One step of the optimizer with these gradients, by name; a parameter without one stays."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate if learning_rate is None else learning_rate
        for name, parameter in self.trained.items():
            parameter.grad = gradients.get(name)
        self._optimizer.step()

    def follow(self, forward: PrunedForward) -> None:
        """The running statistics follow what this forward pass saw."""
        forward.follow(self._momentum)

    def parameters(self) -> dict[str, Tensor]:
        """A copy of every parameter and every running statistic, by name."""
        buffers = {name: b for name, b in self.model.named_buffers() if name.endswith(("running_mean", "running_var"))}
        tensors = {**dict(self.model.named_parameters()), **buffers}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def forward(self, images: Tensor, prune_ratios: Tensor | Sequence[float]) -> tuple[Tensor, PrunedForward]:
        """Logits with their graph, and what the pass saw."""
        with self.pruning(prune_ratios) as forward:
            logits = self.model(images)
        return logits, forward

    def pruning(self, prune_ratios: Tensor | Sequence[float]) -> PrunedForward:
        """What a forward pass runs under."""
        ratios = torch.as_tensor(prune_ratios, dtype=torch.float32).tolist()
        return PrunedForward(self.layers, ratios, self._statistics, self._half, self._mixing)

    def differentiate(
        self,
        images: Tensor,
        prune_ratios: Tensor | Sequence[float],
        feeds: Feeds | None = None,
        select: bool = True,
    ) -> tuple[StepResult, PrunedForward]:
        logits, forward = self.forward(images, prune_ratios)
        mask = torch.ones(len(images), dtype=logits.dtype)
        outcome = self._objective(logits, {"sample_mask": mask, **(feeds or {})}, select)
        penalty = self._anchor.penalty(self.trained) if self._anchor is not None else 0.0
        grads = self.gradients_of(outcome.loss + penalty)
        return self.describe(logits, outcome, grads, forward), forward

    def describe(
        self, logits: Tensor, outcome: Outcome, grads: dict[str, Tensor], forward: PrunedForward
    ) -> StepResult:
        rms = torch.tensor([root_mean_square(grads[layer.weight_name]) for layer in self.layers], dtype=torch.float32)
        kept = torch.tensor(forward.kept_elements(), dtype=torch.int64)
        return StepResult(logits.detach(), outcome.loss.detach(), grads, rms, kept, outcome.weights)

    def gradients_of(self, loss: Tensor) -> dict[str, Tensor]:
        """By name of the trained parameter."""
        grads = torch.autograd.grad(loss, list(self.trained.values()), allow_unused=True)
        found = {name: grad for name, grad in zip(self.trained, grads, strict=True) if grad is not None}
        if unused := set(self.trained) - set(found):
            raise ModelError(f"the loss does not depend on {sorted(unused)}: take them out of what is trained")
        return found
