"""A small vision transformer through every stage, against the same step in eager PyTorch."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torchvision.models.vision_transformer import VisionTransformer

from graphs.build import LATE, Builder
from graphs.check import run_passes
from graphs.layers import find_layers
from graphs.ops import inlined
from graphs.passes.center_layernorm import CenterLayerNorm
from graphs.passes.pipeline import lowering, rewriting, tidying
from graphs.passes.rewrite import Rewrite, nodes_of
from graphs.passes.update_parameters import UpdateWithMomentum
from graphs.sizes import find_sizes
from toolchain.artifacts import RUNTIME_IR_VERSION, Differentiated, Traced
from toolchain.methods import find_method
from toolchain.methods.declaration import SGD
from toolchain.models.registry import LoadedModel, imagenet_preprocessing
from toolchain.reference.step import EagerStep, StepResult
from toolchain.stages.differentiate import differentiate
from toolchain.stages.lower import lower
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace

BLOCKS, HEADS, WIDTH, HIDDEN, TOKENS = 2, 2, 16, 32, 5
RATIOS = [0.0, 0.5, 0.9, 1.0]
METHOD = find_method("surgeon")
OPTIMIZER = METHOD.optimizer or SGD(0.0)
TOLERANCE = 2e-5
"""Relative L2 per tensor; float32 PyTorch is within 6e-6 of float64 here."""


@dataclass(frozen=True)
class Compiled:
    module: torch.nn.Module
    traced: Traced
    differentiated: Differentiated


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    torch.manual_seed(0)
    module = VisionTransformer(32, 16, BLOCKS, HEADS, WIDTH, HIDDEN, num_classes=10).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, float(parameter.ndim == 1), 0.3)  # the head of torchvision starts at zero
    traced = trace(LoadedModel("tiny_vit", module, 32, imagenet_preprocessing(32, 32)))
    return Compiled(module, traced, differentiate(traced, METHOD, tmp_path_factory.mktemp("engine")))


def images(batch: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, 32, 32)).astype(np.float32)


def open_session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.intra_op_num_threads = 1
    portable = inlined(model)
    portable.ir_version = RUNTIME_IR_VERSION
    return onnxruntime.InferenceSession(ir.to_proto(portable).SerializeToString(), options)


def run_step(vit: Compiled, model: ir.Model, ratio: float) -> dict[str, np.ndarray]:
    session = open_session(model)
    feeds = {value.name: np.zeros(value.shape, np.float32) for value in session.get_inputs() if value.name != "images"}
    feeds |= {name: array.copy() for name, array in vit.traced.tensors.items() if name in feeds}
    ones = np.ones(1, np.float32)
    feeds |= {"images": images(), "prune_ratios": np.full_like(feeds["prune_ratios"], ratio), "active": ones}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def run_reference(vit: Compiled, ratio: float) -> StepResult:
    """The same step in eager PyTorch, float64."""
    training, trained = vit.differentiated.training, vit.differentiated.trained
    layers = [(layer.name, layer.kind) for layer in find_layers(training.graph, trained)]
    step = EagerStep(copy.deepcopy(vit.module).double(), layers, trained, OPTIMIZER)
    return step.gradients(torch.from_numpy(images()).double(), [ratio] * len(layers))


def largest_error(outputs: dict[str, np.ndarray], expected: StepResult) -> float:
    """Relative L2 error of the worst gradient; with a momentum of zero before, a gradient is the first momentum."""
    pairs = [(outputs[f"{name}.moment1.updated"], true.numpy()) for name, true in expected.grads.items()]
    return max(float(np.linalg.norm(ours - true) / (np.linalg.norm(true) or 1)) for ours, true in pairs)


def compile_step(vit: Compiled, leave_out: tuple[type[Rewrite], ...] = (), first: Sequence[Rewrite] = ()) -> ir.Model:
    """The step that `lower` makes, with a gradient descent whose momentum starts at the gradient itself."""
    step, trained = vit.differentiated.training.clone(), vit.differentiated.trained
    passes = rewriting(find_layers(step.graph, trained), trained)
    run_passes(step, [each for each in passes if not isinstance(each, leave_out)])
    run_passes(step, [*first, *lowering((UpdateWithMomentum(trained, 0.9),), METHOD.momentum)])
    return step


def test_tidied_forward_graph_computes_the_same(vit: Compiled) -> None:
    (logits,) = open_session(filled(vit.traced)).run(None, {"images": images()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, vit.module(torch.from_numpy(images())), atol=1e-5)


def filled(traced: Traced) -> ir.Model:
    model = traced.forward.clone()
    for name, array in traced.tensors.items():
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return model


def test_tidied_forward_graph_has_its_linear_layers_as_such(vit: Compiled) -> None:
    graph = vit.traced.forward.graph
    weights = [node.inputs[1].name for node in nodes_of(graph, "Gemm") if node.inputs[1] is not None]
    assert len(weights) == 4 * BLOCKS + 1 and set(weights) <= set(vit.traced.parameters)
    assert not nodes_of(graph, "CastLike", "Identity", "Slice")
    assert len(nodes_of(graph, "MatMul")) == 2 * BLOCKS


def test_tidying_twice_changes_nothing_more(vit: Compiled) -> None:
    model = vit.traced.forward.clone()
    assert not any(tidy(model).modified for tidy in tidying())


def test_layers(vit: Compiled) -> None:
    layers = find_layers(vit.differentiated.training.graph, vit.differentiated.trained)
    block = ["ln_1", "self_attention.in_proj", "self_attention.out_proj", "ln_2", "mlp.0", "mlp.3"]
    names = [f"encoder.layers.encoder_layer_{index}.{part}" for index in range(BLOCKS) for part in block]
    kinds = ["layernorm", "linear", "linear", "layernorm", "linear", "linear"] * BLOCKS
    assert [layer.name for layer in layers] == ["conv_proj", *names, "encoder.ln", "heads.head"]
    assert [layer.kind for layer in layers] == ["conv", *kinds, "layernorm", "linear"]
    sizes = [*[TOKENS * WIDTH] * 5, TOKENS * HIDDEN] * BLOCKS
    assert [layer.elements_per_sample for layer in layers] == [3 * 32 * 32, *sizes, TOKENS * WIDTH, WIDTH]


@pytest.mark.parametrize("ratio", RATIOS)
def test_step_is_that_of_eager_pytorch(vit: Compiled, ratio: float) -> None:
    outputs, expected = run_step(vit, compile_step(vit), ratio), run_reference(vit, ratio)
    assert largest_error(outputs, expected) < TOLERANCE
    assert outputs["kept_elements"].tolist() == expected.kept_elements.tolist()
    np.testing.assert_allclose(outputs["loss"], expected.loss, rtol=1e-5)
    np.testing.assert_allclose(outputs["logits"], expected.logits, atol=1e-4)
    np.testing.assert_allclose(outputs["grad_rms"], expected.grad_rms, rtol=1e-4)


@dataclass(frozen=True)
class CenterTooLate(Rewrite):
    """Subtracts the mean from what was kept of the raw input, as if a dropped element were 0 and not the mean."""

    def rewrite(self, graph: ir.Graph) -> bool:
        for node in nodes_of(graph, "LayerNormalizationGrad"):
            late = Builder(graph, LATE)
            centered = late.op("Sub", node.inputs[1], node.inputs[3])
            assert node.inputs[1] is not None
            centered.shape, centered.type = node.inputs[1].shape, node.inputs[1].type
            late.before(node)
            node.replace_input_with(1, centered)
        return True


def test_the_comparison_finds_an_activation_that_is_not_centred(vit: Compiled) -> None:
    step = compile_step(vit, (CenterLayerNorm,), [CenterTooLate()])
    assert largest_error(run_step(vit, step, 0.0), run_reference(vit, 0.0)) < TOLERANCE
    assert largest_error(run_step(vit, step, 0.5), run_reference(vit, 0.5)) > 0.01


def test_unpruned_gradients_are_bit_equal_in_the_dialect_of_the_engine(vit: Compiled, tmp_path: Path) -> None:
    dense, pruned = vit.differentiated.training, rewrite(vit.differentiated).training
    expected, measured = engine_gradients(vit, dense), engine_gradients(vit, pruned)
    assert set(expected) == set(measured)
    for name, gradient in expected.items():
        assert gradient.any()
        np.testing.assert_array_equal(measured[name], gradient, name)


def engine_gradients(vit: Compiled, training: ir.Model) -> dict[str, np.ndarray]:
    """Every trained parameter's gradient by the training graph itself, without pruning."""
    model = training.clone()
    model.graph.outputs[:] = [value for node in model.graph for value in node.outputs if is_gradient(vit, value)]
    session = open_session(model)
    feeds = {value.name: engine_input(vit, value) for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def is_gradient(vit: Compiled, value: ir.Value) -> bool:
    return str(value.name).removesuffix("_grad") in vit.differentiated.trained


def engine_input(vit: Compiled, value: onnxruntime.NodeArg) -> np.ndarray:
    if value.name == "images":
        return images()
    if value.name in vit.traced.tensors:
        return vit.traced.tensors[value.name]
    return np.zeros(value.shape, bool if value.type == "tensor(bool)" else np.float32)


def test_every_value_of_the_step_has_a_known_size(vit: Compiled) -> None:
    rewritten = rewrite(vit.differentiated)
    step = lower(vit.traced, rewritten, vit.differentiated, METHOD).step
    sizes = find_sizes(step.graph, 3, [0.5] * len(rewritten.layers))
    assert not [value.name for node in step.graph for value in node.outputs if value not in sizes]


def test_what_stays_exact(vit: Compiled) -> None:
    """Of each block: attention probabilities, queries, keys, values, GELU's input, deviations. And the logits' two."""
    rewritten = rewrite(vit.differentiated)
    saved = lower(vit.traced, rewritten, vit.differentiated, METHOD).saved
    block = HEADS * TOKENS**2 + 3 * TOKENS * WIDTH + TOKENS * HIDDEN + 2 * TOKENS
    exact = BLOCKS * block + TOKENS + 2 * 10
    assert sum(tensor.bytes_per_sample for tensor in saved) == 4 * exact
    pruned = sum(layer.elements_per_sample for layer in rewritten.layers if layer.name != "conv_proj")
    means = (2 * BLOCKS + 1) * TOKENS
    assert rewritten.dense_saved_bytes_per_sample == 4 * (exact + pruned + means)
