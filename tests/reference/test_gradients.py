"""Each layer's gradient against a second formula, written out with loops in float64."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter, functional

from toolchain.errors import ModelError
from toolchain.reference.interception import Layer, PrunedForward

Gradients = tuple[Tensor, ...]
RATIOS = [0.0, 0.5, 0.9, 1.0]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def randn(*shape: int) -> Parameter:
    return Parameter(torch.randn(*shape, dtype=torch.float64))


def gradients_of(
    layer: Callable[[], Tensor], kind: str, inputs: list[Parameter], ratio: float, statistics: str = "batch"
) -> Gradients:
    """Gradients of Σ y · sin(position) by the inputs (x, weight, bias) of `layer`."""
    with PrunedForward([Layer("layer", kind, "layer.weight", inputs[1])], [ratio], statistics):
        y = layer()
    return torch.autograd.grad((y * output_gradient(y)).sum(), inputs)


def output_gradient(y: Tensor) -> Tensor:
    return torch.arange(y.numel(), dtype=y.dtype).sin().view(y.shape)


def keep_count(x: Tensor, count: int) -> Tensor:
    kept = x.detach().abs().flatten().argsort(descending=True, stable=True)[:count]
    return torch.zeros(x.numel(), dtype=x.dtype).scatter(0, kept, x.detach().flatten()[kept]).view(x.shape)


def keep(x: Tensor, ratio: float) -> Tensor:
    return keep_count(x, math.floor(x.numel() * (1 - ratio)))


def assert_same(measured: Gradients, expected: Gradients) -> None:
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-12)


def conv_by_hand(x: Tensor, weight: Tensor, g: Tensor, kept: Tensor, stride: int, pad: int, dilation: int) -> Gradients:
    """Sums over every product of the definition of a convolution; the number of groups follows from the shapes."""
    grad_x, grad_weight = (torch.zeros_like(functional.pad(x, [pad] * 4)), torch.zeros_like(weight))
    padded = functional.pad(kept, [pad] * 4)
    filters, channels, height, width = weight.shape
    group = filters * channels // x.shape[1]
    for k, c, i, j in torch.cartesian_prod(*map(torch.arange, (filters, channels, height, width))).tolist():
        for row, column in torch.cartesian_prod(*map(torch.arange, g.shape[2:])).tolist():
            at = (slice(None), k // group * channels + c, row * stride + i * dilation, column * stride + j * dilation)
            grad_weight[k, c, i, j] += (g[:, k, row, column] * padded[at]).sum()
            grad_x[at] += g[:, k, row, column] * weight[k, c, i, j]
    end = (slice(None), slice(None), slice(pad, pad + x.shape[2]), slice(pad, pad + x.shape[3]))
    return grad_x[end], grad_weight, g.sum((0, 2, 3))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(
    ("groups", "stride", "pad", "dilation"), [(1, 1, 0, 1), (1, 2, 1, 1), (2, 1, 2, 2), (4, 2, 1, 1)]
)
def test_conv(ratio: float, groups: int, stride: int, pad: int, dilation: int) -> None:
    x, weight, bias = randn(2, 4, 6, 5), randn(4, 4 // groups, 3, 2), randn(4)
    layer = partial(functional.conv2d, x, weight, bias, stride, pad, dilation, groups)
    g = output_gradient(layer())
    expected = conv_by_hand(x.detach(), weight.detach(), g, keep(x, ratio), stride, pad, dilation)
    assert_same(gradients_of(layer, "conv", [x, weight, bias], ratio), expected)


@pytest.mark.parametrize("ratio", RATIOS)
def test_linear(ratio: float) -> None:
    x, weight, bias = randn(2, 3, 5), randn(4, 5), randn(4)
    layer = partial(functional.linear, x, weight, bias)
    g = output_gradient(layer())
    expected = (g @ weight, torch.einsum("nto,nti->oi", g, keep(x, ratio)), g.sum((0, 1)))
    assert_same(gradients_of(layer, "linear", [x, weight, bias], ratio), expected)


def normalisation_by_hand(rows: Tensor, kept: Tensor, g: Tensor, epsilon: float) -> Tensor:
    """(I − 11ᵀ/m − x̂x̂ᵀ/m) g / σ for each of `rows` [R, m], with x̂ = kept / σ."""
    deviation = (rows.var(1, correction=0, keepdim=True) + epsilon).sqrt()
    size = rows.shape[1]
    standardised = kept / deviation
    projections = (
        torch.eye(size, dtype=g.dtype) - 1 / size - standardised.unsqueeze(2) * standardised.unsqueeze(1) / size
    )
    return (projections @ g.unsqueeze(2)).squeeze(2) / deviation


def by_channel(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def batch_norm_by_hand(x: Tensor, weight: Tensor, g: Tensor, centred_kept: Tensor) -> Gradients:
    rows, kept, g_rows = by_channel(x), by_channel(centred_kept), by_channel(g)
    deviation = (rows.var(1, correction=0, keepdim=True) + 1e-3).sqrt()
    grad_x = normalisation_by_hand(rows, kept, g_rows, 1e-3) * weight.unsqueeze(1)
    grad_x = grad_x.view(x.transpose(0, 1).shape).transpose(0, 1)
    return grad_x, (g_rows * kept / deviation).sum(1), g_rows.sum(1)


def run_batch_norm(x: Parameter, weight: Parameter, bias: Parameter, ratio: float) -> tuple[Gradients, Tensor]:
    layer = partial(functional.batch_norm, x, None, None, weight, bias, True, 0.1, 1e-3)
    return gradients_of(layer, "batchnorm", [x, weight, bias], ratio), output_gradient(x)


@pytest.fixture
def batch_norm_inputs() -> list[Parameter]:
    x, weight, bias = randn(4, 3, 2, 5), randn(3), randn(3)
    x.data += 1.0  # so that raw and centred activations differ in what is largest
    return [x, weight, bias]


@pytest.mark.parametrize("ratio", RATIOS)
def test_batch_norm_prunes_the_centred_activation(ratio: float, batch_norm_inputs: list[Parameter]) -> None:
    x, weight, bias = batch_norm_inputs
    measured, g = run_batch_norm(x, weight, bias, ratio)
    centred = x - x.mean((0, 2, 3), keepdim=True)
    assert_same(measured, batch_norm_by_hand(x.detach(), weight.detach(), g, keep(centred, ratio)))


def raw_activation(x: Tensor) -> Tensor:
    """Prunes x, not x − μ: a dropped element then means x̂ = −μ/σ."""
    return keep(x, 0.5) - x.mean((0, 2, 3), keepdim=True)


def renormalised(x: Tensor) -> Tensor:
    """As SURGEON's released code: prunes x and centres by the pruned tensor's own mean."""
    kept = keep(x, 0.5)
    return kept - kept.mean((0, 2, 3), keepdim=True)


def per_sample(x: Tensor) -> Tensor:
    """Prunes every sample by itself."""
    centred = x - x.mean((0, 2, 3), keepdim=True)
    return torch.stack([keep(sample, 0.5) for sample in centred])


def one_too_few(x: Tensor) -> Tensor:
    return keep_count(x - x.mean((0, 2, 3), keepdim=True), x.numel() // 2 - 1)


@pytest.mark.parametrize("wrong", [raw_activation, renormalised, per_sample, one_too_few])
def test_the_comparison_finds_a_wrong_batch_norm(
    wrong: Callable[[Tensor], Tensor], batch_norm_inputs: list[Parameter]
) -> None:
    x, weight, bias = batch_norm_inputs
    measured, g = run_batch_norm(x, weight, bias, 0.5)
    with pytest.raises(AssertionError, match="not close"):
        assert_same(measured, batch_norm_by_hand(x.detach(), weight.detach(), g, wrong(x.detach())))


@pytest.mark.parametrize("ratio", RATIOS)
def test_batch_norm_with_running_statistics(ratio: float, batch_norm_inputs: list[Parameter]) -> None:
    x, weight, bias = batch_norm_inputs
    mean, variance = torch.linspace(0, 2, 3, dtype=torch.float64), torch.linspace(1, 3, 3, dtype=torch.float64)
    layer = partial(functional.batch_norm, x, mean, variance, weight, bias, False, 0.1, 1e-3)
    measured = gradients_of(layer, "batchnorm", [x, weight, bias], ratio, "running")
    g, deviation = output_gradient(x), (variance + 1e-3).sqrt().view(3, 1, 1)
    standardised = keep(x - mean.view(3, 1, 1), ratio) / deviation
    grad_x = g * weight.view(3, 1, 1) / deviation
    assert_same(measured, (grad_x, (g * standardised).sum((0, 2, 3)), g.sum((0, 2, 3))))


@pytest.mark.parametrize("ratio", RATIOS)
def test_layer_norm_prunes_the_centred_activation(ratio: float) -> None:
    x, weight, bias = randn(2, 3, 2, 4), randn(2, 4), randn(2, 4)
    layer = partial(functional.layer_norm, x, (2, 4), weight, bias, 1e-3)
    measured, g = gradients_of(layer, "layernorm", [x, weight, bias], ratio), output_gradient(x)
    kept = keep(x - x.mean((2, 3), keepdim=True), ratio)
    rows, kept_rows, g_rows = (t.flatten(2).flatten(0, 1) for t in (x.detach(), kept, g * weight))
    grad_x = normalisation_by_hand(rows, kept_rows, g_rows, 1e-3).view(x.shape)
    standardised = kept / (x.var((2, 3), correction=0, keepdim=True) + 1e-3).sqrt()
    assert_same(measured, (grad_x, (g * standardised).sum((0, 1)), g.sum((0, 1))))


@pytest.mark.parametrize(
    ("kind", "layer", "shapes"),
    [
        ("conv", partial(functional.conv2d, stride=2, padding=1), [(2, 2, 4, 4), (3, 2, 3, 3), (3,)]),
        ("linear", functional.linear, [(2, 3), (2, 3), (2,)]),
        ("batchnorm", lambda x, w, b: functional.batch_norm(x, None, None, w, b, True), [(3, 2, 2, 2), (2,), (2,)]),
        ("layernorm", lambda x, w, b: functional.layer_norm(x, (4,), w, b), [(2, 3, 4), (4,), (4,)]),
    ],
)
def test_unpruned_gradient_is_the_derivative_of_the_forward_pass(
    kind: str, layer: Callable[..., Tensor], shapes: list[tuple[int, ...]]
) -> None:
    inputs = [randn(*shape) for shape in shapes]

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with PrunedForward([Layer("layer", kind, "layer.weight", weight)], [0.0], "batch"):  # type: ignore[arg-type]
            return layer(x, weight, bias)

    assert torch.autograd.gradcheck(forward, inputs)
    torch.testing.assert_close(forward(*inputs), layer(*inputs), rtol=1e-13, atol=1e-13)


def test_weight_used_twice_is_refused() -> None:
    x, weight = randn(2, 3), randn(3, 3)
    with PrunedForward([Layer("shared", "linear", "shared.weight", weight)], [0.5], "batch") as forward:
        functional.linear(functional.linear(x, weight), weight)
    with pytest.raises(ModelError, match="'shared' ran 2 times as linear"):
        forward.kept_elements()
