"""The fused step, its kernels played by numpy, against the same step in eager PyTorch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

import graphs.passes.sparse_conv_gradient
import graphs.passes.split_linear_gradient
from graphs.build import OWN_DOMAIN
from graphs.liveness import find_peak
from graphs.passes.schedule import UPDATED
from tests.graphs import numpy_kernels
from toolchain.artifacts import Differentiated, Lowered, Rewritten, Traced
from toolchain.methods import find_method
from toolchain.methods.declaration import SGD
from toolchain.models.registry import LoadedModel, imagenet_preprocessing
from toolchain.reference.step import EagerStep, StepResult
from toolchain.stages.differentiate import differentiate
from toolchain.stages.fuse import fuse
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace

METHOD = find_method("surgeon")
OPTIMIZER = METHOD.optimizer or SGD(0.0)
SIDE, BATCH = 32, 3
TOLERANCE = 2e-5


class SmallResNet(ResNet):  # type: ignore[misc]
    """All that ResNet-50 is made of, small: a pooled stem, bottlenecks, a strided shortcut."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [2, 1, 1, 1], num_classes=10, width_per_group=4)
        self.layer2, self.layer3, self.layer4 = nn.Sequential(Bottleneck(256, 4, 2, _shortcut())), *_nothing()
        self.fc = nn.Linear(16, 10)


def _shortcut() -> nn.Module:
    return nn.Sequential(nn.Conv2d(256, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))


def _nothing() -> tuple[nn.Sequential, nn.Sequential]:
    return nn.Sequential(), nn.Sequential()


@dataclass(frozen=True)
class Compiled:
    module: nn.Module
    traced: Traced
    differentiated: Differentiated
    rewritten: Rewritten
    fused: Lowered
    halved: Lowered


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    torch.manual_seed(0)
    module = SmallResNet().eval()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.5, 0.3)
    traced = trace(LoadedModel("small_resnet", module, SIDE, imagenet_preprocessing(SIDE, SIDE)))
    folder: Path = tmp_path_factory.mktemp("engine")
    differentiated = differentiate(traced, METHOD, folder)
    rewritten = rewrite(differentiated)
    with pytest.MonkeyPatch.context() as patch:
        for module_of_pass in (graphs.passes.sparse_conv_gradient, graphs.passes.split_linear_gradient):
            patch.setattr(module_of_pass, "PIECE", 100)  # so that gradients come in pieces here too
        fused = [fuse(differentiated, rewritten, METHOD, half) for half in (False, True)]
    return Compiled(module, traced, differentiated, rewritten, *fused)


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((BATCH, 3, SIDE, SIDE), np.float32)


def ratios(compiled: Compiled, ratio: float | None) -> np.ndarray:
    count = len(compiled.rewritten.layers)
    if ratio is None:
        return np.random.default_rng(1).uniform(0, 1, count).astype(np.float32)
    return np.full(count, ratio, np.float32)


def feeds(compiled: Compiled, chosen: np.ndarray, active: float = 1.0) -> dict[str, np.ndarray]:
    known = {"images": images(), "prune_ratios": chosen, "active": np.array([active], np.float32)}
    known["learning_rate"] = np.array([1e-3], np.float32)
    for value in compiled.fused.step.graph.inputs:
        if value.name not in known:
            shipped = compiled.traced.tensors.get(str(value.name))
            known[str(value.name)] = np.zeros(value.shape.numpy(), np.float32) if shipped is None else shipped.copy()  # type: ignore[union-attr]
    return known


def run_eager(compiled: Compiled, chosen: np.ndarray, half: bool = False) -> StepResult:
    layers = [(layer.name, layer.kind) for layer in compiled.rewritten.layers]
    trained = list(compiled.differentiated.trained)
    step = EagerStep(compiled.module, layers, trained, OPTIMIZER, half=half)
    return step.gradients(torch.from_numpy(images()), torch.from_numpy(chosen))


def worst(found: dict[str, np.ndarray], expected: StepResult) -> float:
    """The largest relative distance of a gradient, as the first moment holds it after one step from zero."""
    errors = []
    for name, gradient in expected.grads.items():
        mine, exact = found[f"{name}.moment1{UPDATED}"] / 0.1, gradient.numpy()
        errors.append(np.linalg.norm(mine - exact) / (np.linalg.norm(exact) + 1e-6))
    return float(max(errors))


@pytest.mark.parametrize("ratio", [0.0, 0.5, None, 0.9, 1.0])
def test_gradients_are_those_of_eager_pytorch(compiled: Compiled, ratio: float | None) -> None:
    chosen = ratios(compiled, ratio)
    expected = run_eager(compiled, chosen)
    found = numpy_kernels.run(compiled.fused.step.graph, feeds(compiled, chosen))
    assert worst(found, expected) < TOLERANCE
    np.testing.assert_allclose(found["logits"], expected.logits.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["grad_rms"], expected.grad_rms.numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(found["kept_elements"], expected.kept_elements.numpy())


def test_gradients_from_values_in_half_precision_are_those_of_eager_pytorch(compiled: Compiled) -> None:
    chosen = ratios(compiled, 0.5)
    found = numpy_kernels.run(compiled.halved.step.graph, feeds(compiled, chosen))
    assert worst(found, run_eager(compiled, chosen, half=True)) < 10 * TOLERANCE < 1e-3
    assert worst(found, run_eager(compiled, chosen)) > 10 * TOLERANCE


def test_other_ratios_give_other_gradients(compiled: Compiled) -> None:
    expected = run_eager(compiled, ratios(compiled, 0.5))
    found = numpy_kernels.run(compiled.fused.step.graph, feeds(compiled, ratios(compiled, 0.6)))
    assert worst(found, expected) > 100 * TOLERANCE


def test_an_inactive_step_changes_no_parameter(compiled: Compiled) -> None:
    fed = feeds(compiled, ratios(compiled, 0.5), active=0.0)
    before = {name: fed[name].copy() for name in compiled.differentiated.trained}
    numpy_kernels.run(compiled.fused.step.graph, fed)
    assert all(np.array_equal(fed[name], before[name]) for name in before)
    fed = feeds(compiled, ratios(compiled, 0.5))
    numpy_kernels.run(compiled.fused.step.graph, fed)
    assert any(not np.array_equal(fed[name], before[name]) for name in before)


def test_every_kind_of_fusion_takes_part(compiled: Compiled) -> None:
    used = {node.op_type for node in compiled.fused.step.graph if node.domain == OWN_DOMAIN}
    others = {"Copy", "PackMask", "UnpackMask", "SparsifyHalf", "MomentumUpdate"}
    assert set(numpy_kernels.OPERATORS) - used == others


def test_a_wrong_order_gives_wrong_gradients(compiled: Compiled) -> None:
    """The negative control of the machine: kept after it was normalised in place, an activation is another."""
    model = compiled.fused.step.clone()
    keep = next(node for node in model.graph if node.op_type == "Sparsify" and len(node.inputs) == 3)
    readers = [node for node in keep.inputs[0].consumers() if node.op_type.startswith("BatchNormalize")]  # type: ignore[union-attr]
    late = [keep, *keep.outputs[0].consumers()]
    model.graph.remove(late)
    model.graph.insert_after(readers[0], late)
    chosen = ratios(compiled, 0.5)
    found = numpy_kernels.run(model.graph, feeds(compiled, chosen))
    assert worst(found, run_eager(compiled, chosen)) > 100 * TOLERANCE


def test_the_peak_is_below_that_of_the_lowered_step(compiled: Compiled) -> None:
    from toolchain.stages.lower import lower

    lowered = lower(compiled.traced, compiled.rewritten, compiled.differentiated, METHOD)
    chosen = ratios(compiled, 0.9).tolist()
    fused, portable = (find_peak(step.graph, 8, chosen).bytes for step in (compiled.fused.step, lowered.step))
    assert fused < 0.8 * portable
    assert isinstance(compiled.fused.step, ir.Model)
