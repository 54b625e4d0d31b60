"""MECTA's step in both forms, kernels played by numpy in the native one, against eager PyTorch."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from graphs.ops import inlined
from graphs.passes.schedule import UPDATED
from graphs.saved import find_saved
from tests.graphs import numpy_kernels
from tests.graphs.test_fusing import SmallResNet
from toolchain.methods import find_method
from toolchain.methods.declaration import Mecta
from toolchain.models.registry import LoadedModel, imagenet_preprocessing
from toolchain.reference.mecta import MectaStep
from toolchain.reference.step import StepResult
from toolchain.stages.differentiate import differentiate
from toolchain.stages.fuse import fuse
from toolchain.stages.lower import lower
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace

METHOD = find_method("mecta")
ALL, SOME, NONE = 0.0, 0.95, 1.0
"""Thresholds at which all layers are on, some, and none."""

TOLERANCE = 2e-4


@dataclass(frozen=True)
class Compiled:
    module: nn.Module
    layers: tuple[tuple[str, str], ...]
    trained: tuple[str, ...]
    tensors: dict[str, np.ndarray]
    portable: dict[float, ir.Model]
    native: dict[float, ir.Model]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    torch.manual_seed(0)
    module = SmallResNet().eval()
    for name, tensor in module.state_dict().items():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand(len(tensor)) + 0.5 if "mean" not in name else torch.randn(len(tensor)) / 4)
    traced = trace(LoadedModel("small_resnet", module, 32, imagenet_preprocessing(32, 32)))
    differentiated = differentiate(traced, METHOD, tmp_path_factory.mktemp("engine"))
    forms: tuple[dict[float, ir.Model], dict[float, ir.Model]] = ({}, {})
    for threshold in (ALL, SOME, NONE):
        assert METHOD.mecta is not None
        method = replace(METHOD, mecta=replace(METHOD.mecta, threshold=threshold))
        rewritten = rewrite(differentiated, method=method)
        forms[0][threshold] = lower(traced, rewritten, differentiated, method).step
        forms[1][threshold] = fuse(differentiated, rewritten, method).step
    layers = tuple((layer.name, layer.kind) for layer in rewritten.layers)
    return Compiled(module, layers, differentiated.trained, dict(traced.tensors), *forms)


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)


def keys(compiled: Compiled, seed: int = 0) -> list[Tensor]:
    widths = [len(compiled.tensors[f"{name}.weight"]) for name, _ in compiled.layers]
    return list(torch.rand(sum(widths), generator=torch.manual_seed(seed)).split(widths))


def eager(compiled: Compiled, threshold: float, drop: float = 0.7) -> MectaStep:
    """In float64, which is as near to either form as float32 rounds."""
    module, numbers = copy.deepcopy(compiled.module).double(), Mecta(threshold, drop)
    return MectaStep(module, compiled.layers, compiled.trained, METHOD.optimizer, numbers=numbers)


def fed(compiled: Compiled) -> dict[str, Tensor]:
    return {"channel_keys": torch.cat(keys(compiled))}


def feeds(compiled: Compiled, graph: ir.Graph, chosen: list[Tensor], moment: float) -> dict[str, np.ndarray]:
    """moment: what all moments are at first."""
    known = {"images": images(), "channel_keys": torch.cat(chosen).numpy(), "active": np.ones(1, np.float32)}
    known["learning_rate"] = np.array([1e-3], np.float32)
    for value in graph.inputs:
        if value.name not in known:
            shipped = compiled.tensors.get(str(value.name))
            start = np.full(value.shape.numpy(), moment, np.float32)  # type: ignore[union-attr]
            known[str(value.name)] = start if shipped is None else shipped.copy()
    return known


def run(
    compiled: Compiled, form: str, threshold: float, chosen: list[Tensor], path: Path, moment: float = 0.0
) -> dict[str, np.ndarray]:
    if form == "native":
        graph = compiled.native[threshold].graph
        return numpy_kernels.run(graph, feeds(compiled, graph, chosen, moment))
    model = inlined(compiled.portable[threshold])
    model.ir_version = 10
    ir.save(model, path / "step.onnx")
    session = onnxruntime.InferenceSession(path / "step.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = feeds(compiled, model.graph, chosen, moment)
    wanted = {value.name for value in session.get_inputs()}
    found = session.run(names, {name: array for name, array in given.items() if name in wanted})
    return dict(zip(names, found, strict=True))


def worst(found: dict[str, np.ndarray], expected: StepResult) -> float:
    """The largest relative distance of a gradient, from what the moments became."""
    errors = []
    for name, gradient in expected.grads.items():
        mine, exact = found[f"{name}.moment1{UPDATED}"], gradient.numpy()
        if gradient.any():
            errors.append(np.linalg.norm(mine - exact) / (np.linalg.norm(exact) + 1e-5))
    return float(max(errors))


@pytest.mark.parametrize("form", ["native", "portable"])
@pytest.mark.parametrize("threshold", [ALL, SOME])
def test_gradients_are_those_of_eager_pytorch(compiled: Compiled, form: str, threshold: float, tmp_path: Path) -> None:
    expected = eager(compiled, threshold).gradients(torch.from_numpy(images()).double(), [], feeds=fed(compiled))
    found = run(compiled, form, threshold, keys(compiled), tmp_path)
    on = expected.kept_elements > 0
    assert bool(on.all()) == (threshold == ALL) and bool(on.any())
    np.testing.assert_allclose(found["logits"], expected.logits.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["kept_elements"], expected.kept_elements.numpy())
    assert worst(found, expected) < TOLERANCE
    other = run(compiled, form, threshold, keys(compiled, seed=1), tmp_path)
    assert worst(other, expected) > 100 * TOLERANCE  # other channels, other gradients


@pytest.mark.parametrize("form", ["native", "portable"])
def test_what_is_off_keeps_nothing_and_rests_with_its_moments(compiled: Compiled, form: str, tmp_path: Path) -> None:
    found = run(compiled, form, NONE, keys(compiled), tmp_path, moment=0.25)
    assert not found["kept_elements"].any()
    for name in compiled.trained:
        assert (found[f"{name}.moment1{UPDATED}"] == 0.25).all()
        np.testing.assert_array_equal(found[f"{name}{UPDATED}"], compiled.tensors[name])
    moving = run(compiled, form, ALL, keys(compiled), tmp_path, moment=0.25)
    assert all((moving[f"{name}.moment1{UPDATED}"] != 0.25).any() for name in compiled.trained)


@pytest.mark.parametrize("form", ["native", "portable"])
def test_running_statistics_follow_the_divergence(compiled: Compiled, form: str, tmp_path: Path) -> None:
    """Also where a layer is off."""
    step = eager(compiled, NONE)
    step.run(torch.from_numpy(images()).double(), [], feeds=fed(compiled))
    found = run(compiled, form, NONE, keys(compiled), tmp_path)
    for name, value in step.parameters().items():
        if "running" in name:
            assert not np.allclose(value.numpy(), compiled.tensors[name], rtol=1e-3)
            np.testing.assert_allclose(found[f"{name}{UPDATED}"], value.numpy(), rtol=1e-4, atol=1e-5)


def test_kept_channels_are_all_that_waits_but_masks(compiled: Compiled) -> None:
    widths = [len(compiled.tensors[f"{name}.weight"]) for name, _ in compiled.layers]
    for form in (compiled.portable, compiled.native):
        saved = {tensor.name: tensor for tensor in find_saved(form[ALL].graph)}
        kept = [saved.pop(f"{name}.kept") for name, _ in compiled.layers]
        assert all(tensor.bytes_per_sample > 0 for tensor in kept)
        shares = [int(width - int(width * 0.7 + 1e-3)) / width for width in widths]
        assert max(shares) <= 0.5  # of the four channels of the smallest layers
        rest = sum(tensor.bytes_per_sample for tensor in saved.values())
        assert rest < sum(tensor.bytes_per_sample for tensor in kept) / 2
