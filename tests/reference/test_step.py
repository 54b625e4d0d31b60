"""One step of a whole model against plain torch, and its effect on parameters, running statistics and nothing else."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.methods.declaration import SGD, Adam, Optimizer
from toolchain.reference.objective import entropy
from toolchain.reference.step import EagerStep

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm2d: "batchnorm",
    nn.LayerNorm: "layernorm",
}


class PaddedConv(nn.Conv2d):
    """A convolution that pads by itself first, as EfficientNet-Lite's."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


def convolutional(normalised: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d if normalised else lambda channels: nn.Identity()
    first = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), norm(8), nn.ReLU6(inplace=True), nn.Dropout(0.5)]
    second = [PaddedConv(8, 8, 2), norm(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


class Attention(nn.Module):
    """One encoder block as torchvision's ViT has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.self_attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        normal = self.norm1(tokens)
        tokens = tokens + self.self_attention(normal, normal, normal, need_weights=False)[0]
        logits: Tensor = self.head(self.norm2(tokens).mean(1))
        return logits


def layers_of(model: nn.Module) -> list[tuple[str, str]]:
    return [
        (name, kind) for name, module in model.named_modules() for t, kind in KINDS.items() if isinstance(module, t)
    ]


def step_of(model: nn.Module, optimizer: Optimizer | None = None, statistics: str = "batch") -> EagerStep:
    trained = [name for name, _ in model.named_parameters()]
    return EagerStep(model, layers_of(model), trained, optimizer or Adam(1e-3), statistics)


def images(model: nn.Module, samples: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(samples, 3, 12, 12, generator=torch.manual_seed(seed)).to(next(model.parameters()).dtype)


def ratios(model: nn.Module, ratio: float) -> list[float]:
    return [ratio] * len(layers_of(model))


def plain(model: nn.Module, statistics: str = "batch") -> nn.Module:
    """The model as a user would set it up for TENT: BatchNorm in training mode, all else in evaluation mode."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        module.training = statistics == "batch" and isinstance(module, nn.BatchNorm2d)
    return model


def plain_gradients(model: nn.Module, x: Tensor, statistics: str = "batch") -> dict[str, Tensor]:
    model = plain(model, statistics)
    entropy(model(x)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_entropy_is_that_of_the_softmax() -> None:
    logits = torch.tensor([[0.0, 0.0], [torch.log(torch.tensor(3.0)), 0.0], [100.0, -100.0]])
    by_hand = (0.6931472 + 0.5623351 + 0.0) / 3
    torch.testing.assert_close(entropy(logits).item(), by_hand, rtol=1e-6, atol=0)


def test_unpruned_gradients_of_conv_and_linear_are_those_of_autograd_bit_for_bit() -> None:
    model = convolutional(normalised=False)
    measured = step_of(model).gradients(images(model), ratios(model, 0.0)).grads
    for name, expected in plain_gradients(model, images(model)).items():
        assert torch.equal(measured[name], expected), name


def test_unpruned_layers_and_prune_ratio_0_agree_bit_for_bit() -> None:
    model = convolutional()
    trained = [name for name, _ in model.named_parameters()]
    without_layers = EagerStep(model, [], trained, Adam(1e-3)).gradients(images(model), [])
    torch.testing.assert_close(
        step_of(model).gradients(images(model), ratios(model, 0.0)).grads, without_layers.grads, rtol=0, atol=0
    )


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("build", [convolutional, Attention])
def test_unpruned_step_is_that_of_autograd(build: Callable[[], nn.Module], statistics: str) -> None:
    model = build().double()
    result = step_of(model, statistics=statistics).gradients(images(model), ratios(model, 0.0))
    torch.testing.assert_close(result.logits, plain(model, statistics)(images(model)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.grads, plain_gradients(model, images(model), statistics), rtol=1e-12, atol=1e-12)


def test_everything_pruned_leaves_only_the_exact_gradients() -> None:
    model = convolutional()
    result = step_of(model).gradients(images(model), ratios(model, 1.0))
    weights = {f"{name}.weight" for name, _ in layers_of(model)}
    assert all((result.grads[name] == 0).all() for name in weights)
    assert all((grad != 0).any() for name, grad in result.grads.items() if name == "10.bias")
    assert result.grad_rms.tolist() == [0.0] * len(weights)
    assert result.kept_elements.tolist() == [0] * len(weights)


def test_grad_rms_and_kept_elements_are_per_layer_in_order() -> None:
    model = convolutional()
    order = list(reversed(layers_of(model)))
    step = EagerStep(model, order, [f"{name}.weight" for name, _ in order], Adam(1e-3))
    result = step.gradients(images(model), [0.8, 0.0, 0.5, 0.7, 1.0, 0.9])
    sizes = [4 * 32, 4 * 8 * 36, 4 * 8 * 36, 4 * 8 * 49, 4 * 8 * 36, 4 * 3 * 144]  # 49: PaddedConv's padded input
    assert [name for name, _ in order] == ["10", "7", "5", "4", "1", "0"]
    fractions = [0.2, 1.0, 0.5, 0.3, 0.0, 0.1]
    assert result.kept_elements.tolist() == [int(n * f) for n, f in zip(sizes, fractions, strict=True)]
    rms = torch.stack([result.grads[f"{name}.weight"].square().mean().sqrt() for name, _ in order])
    torch.testing.assert_close(result.grad_rms, rms)


class WrittenOutAttention(nn.Module):
    """nn.MultiheadAttention as a matrix product of scores, with its projections as two linear layers."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(8, 24), nn.Linear(8, 8)
        self.inward.weight, self.inward.bias = attention.in_proj_weight, attention.in_proj_bias
        self.outward.weight, self.outward.bias = attention.out_proj.weight, attention.out_proj.bias

    def forward(self, x: Tensor, *same: Tensor, need_weights: bool) -> tuple[Tensor]:
        q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in self.inward(x).chunk(3, 2))
        scores = (q @ k.transpose(2, 3) / 2).softmax(3)
        return (self.outward((scores @ v).transpose(1, 2).flatten(2)),)


def test_projections_of_attention_are_pruned_as_linear_layers() -> None:
    model = Attention().double()
    written_out = copy.deepcopy(model)
    written_out.self_attention = WrittenOutAttention(written_out.self_attention)  # type: ignore[assignment]
    results = []
    for block, projections in ((model, ("in_proj", "out_proj")), (written_out, ("inward", "outward"))):
        layers = [(f"self_attention.{projection}", "linear") for projection in projections]
        step = EagerStep(block, layers, [name for name, _ in block.named_parameters()], Adam(1e-3))
        results.append(step.gradients(images(model), [0.5, 0.9]))
    expected, measured = results
    assert measured.kept_elements.tolist() == expected.kept_elements.tolist() == [4 * 9 * 4, 28]
    torch.testing.assert_close(measured.grad_rms, expected.grad_rms)
    torch.testing.assert_close(measured.grads["embed.weight"], expected.grads["embed.weight"], rtol=1e-12, atol=1e-12)


def test_masked_attention_is_refused() -> None:
    model = Attention()
    model.self_attention.add_zero_attn = True
    step = EagerStep(model, [("self_attention.in_proj", "linear")], ["self_attention.in_proj_weight"], Adam(1e-3))
    with pytest.raises(ModelError, match="only self-attention"):
        step.gradients(images(model), [0.5])


@pytest.mark.parametrize("optimizer", [Adam(1e-2), Adam(1e-3, 0.8, 0.9, 1e-6), SGD(1e-2), SGD(0.1, 0.0)])
def test_five_unpruned_steps_are_those_of_torch(optimizer: Optimizer) -> None:
    """Parameters of float64 to 1e-9: Adam divides by the root of a second moment that may be tiny."""
    model = convolutional().double()
    step, twin = step_of(model, optimizer), plain(model)
    update: torch.optim.Optimizer
    if isinstance(optimizer, SGD):
        update = torch.optim.SGD(twin.parameters(), optimizer.learning_rate, optimizer.momentum)
    else:
        betas = (optimizer.beta1, optimizer.beta2)
        update = torch.optim.Adam(twin.parameters(), optimizer.learning_rate, betas, optimizer.epsilon)
    for seed in range(5):
        step.run(images(model, seed=seed), ratios(model, 0.0))
        update.zero_grad()
        entropy(twin(images(model, seed=seed))).backward()
        update.step()
    expected = {name: t for name, t in twin.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.testing.assert_close(step.parameters(), expected, rtol=1e-9, atol=1e-9)


def test_learning_rate_of_one_step() -> None:
    model = convolutional()
    step = step_of(model, SGD(0.5, 0.0))
    before = step.parameters()["10.weight"]
    grad = step.run(images(model), ratios(model, 0.0), learning_rate=2.0).grads["10.weight"]
    torch.testing.assert_close(step.parameters()["10.weight"], before - 2.0 * grad)
    again = step.run(images(model), ratios(model, 0.0)).grads["10.weight"]
    torch.testing.assert_close(step.parameters()["10.weight"], before - 2.0 * grad - 0.5 * again)


def test_running_statistics_do_not_depend_on_the_prune_ratio() -> None:
    model = convolutional()
    step, twin = step_of(model), plain(model)
    step.run(images(model), ratios(model, 0.9))
    twin(images(model))
    for name, buffer in twin.named_buffers():
        if "running" in name:
            torch.testing.assert_close(step.parameters()[name], buffer, rtol=1e-6, atol=1e-7)


def test_running_variance_of_a_single_element_is_divided_by_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 12), nn.BatchNorm2d(4), nn.Flatten())
    step = EagerStep(model, [("1", "batchnorm")], ["1.weight", "1.bias"], SGD(0.1), momentum=0.25)
    step.run(images(model, samples=1), [0.5])
    assert step.parameters()["1.running_var"].tolist() == [0.75] * 4


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_gradients_alone_change_nothing(statistics: str) -> None:
    model = convolutional()
    step = step_of(model, statistics=statistics)
    before = step.parameters()
    first = step.gradients(images(model), ratios(model, 0.5))
    torch.testing.assert_close(step.parameters(), before, rtol=0, atol=0)
    second = step.run(images(model), ratios(model, 0.5))
    torch.testing.assert_close(first.grads, second.grads, rtol=0, atol=0)


def test_nothing_of_a_step_waits_for_the_garbage_collector() -> None:
    """Remnants between the activations of later batches made the memory of a long evaluation grow to gigabytes."""
    model = convolutional()
    gc.disable()
    try:
        _, forward = step_of(model).forward(images(model), ratios(model, 0.5))
        seen = weakref.ref(forward)
        del forward
        assert seen() is None
    finally:
        gc.enable()


def test_only_what_is_trained_changes_and_never_the_callers_model() -> None:
    model = convolutional()
    original = copy.deepcopy(model.state_dict())
    step = EagerStep(model, [("1", "batchnorm")], ["1.weight"], SGD(0.1))
    step.run(images(model), [0.5])
    torch.testing.assert_close(model.state_dict(), original, rtol=0, atol=0)
    changed = {name for name, value in step.parameters().items() if not torch.equal(value, original[name])}
    assert changed == {"1.weight", "1.running_mean", "1.running_var", "5.running_mean", "5.running_var"}


def test_running_statistics_stay_where_they_normalise() -> None:
    model = convolutional()
    step = step_of(model, statistics="running")
    before = step.parameters()
    step.run(images(model), ratios(model, 0.0))
    assert torch.equal(step.parameters()["1.running_mean"], before["1.running_mean"])


@pytest.mark.parametrize(
    ("layers", "trained", "message"),
    [
        ([], ["nothing"], r"no parameters \['nothing'\]"),
        ([("0", "conv")], ["1.weight"], "layer '0' has no trained weight"),
        ([("0", "linear")], ["0.weight"], "layer '0' ran 0 times as linear"),
        ([], ["0.weight", "2.unused.weight"], r"does not depend on \['2.unused.weight'\]"),
    ],
)
def test_what_the_model_cannot_do_is_refused(layers: list[tuple[str, str]], trained: list[str], message: str) -> None:
    model = convolutional()
    model[2].add_module("unused", nn.Linear(1, 1))
    with pytest.raises(ModelError, match=message):
        EagerStep(model, layers, trained, Adam(1e-3)).gradients(images(model), [0.5] * len(layers))
