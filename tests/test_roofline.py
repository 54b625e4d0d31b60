"""Work counted from graphs, against what others count; and the roofline."""

import json

import numpy as np
import onnx_ir as ir
import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from graphs.work import Work, find_fused_work, find_work
from targets import load_target
from toolchain.cli.main import main
from toolchain.errors import TargetError
from toolchain.methods import find_method
from toolchain.models.registry import LoadedModel, load_model
from toolchain.roofline import Machine, bounded, estimate
from toolchain.stages.differentiate import differentiate
from toolchain.stages.export import export
from toolchain.stages.fuse import fuse
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace

PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedMatMul", "ConvWeightGradient"}
BATCH = 4


def infer_graph(name: str) -> ir.Graph:
    return ir.from_proto(export(trace(load_model(name, "none")), load_target("xavier-nx")).infer).graph


@pytest.fixture(scope="module")
def small() -> LoadedModel:
    return load_model("cifar_resnet20")


@pytest.fixture(scope="module")
def step(small: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[ir.Graph, int]:
    method = find_method("surgeon")
    differentiated = differentiate(trace(small), method, tmp_path_factory.mktemp("engine"))
    rewritten = rewrite(differentiated)
    return fuse(differentiated, rewritten, method).step.graph, len(rewritten.layers)


def products(work: list[Work]) -> int:
    """Operations of convolutions and matrix products alone."""
    return sum(item.flops for item in work if item.operators[0] in PRODUCTS)


def counted_by_torch(model: LoadedModel, backward: bool) -> int:
    counter = FlopCounterMode(display=False)
    images = torch.zeros(BATCH, 3, model.image_size, model.image_size)
    with counter:
        logits = model.module(images)
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops())


def test_inference_is_what_torchvision_publishes() -> None:
    published = torchvision.models.get_model_weights("resnet18").DEFAULT.meta["_ops"] * 1e9
    assert products(find_work(infer_graph("resnet18"), 1)) == pytest.approx(2 * published, rel=1e-3)


def test_products_are_what_torch_counts(small: LoadedModel, step: tuple[ir.Graph, int]) -> None:
    graph, layers = step
    assert products(find_work(infer_graph("cifar_resnet20"), BATCH)) == counted_by_torch(small, backward=False)
    whole = products(find_work(graph, BATCH, [0.0] * layers))
    assert whole == pytest.approx(counted_by_torch(small, backward=True), rel=0.01)
    assert products(find_work(graph, 2 * BATCH, [0.0] * layers)) == pytest.approx(2 * whole, rel=0.01)


def test_pruning_leaves_a_tenth_of_the_weight_gradients(step: tuple[ir.Graph, int]) -> None:
    graph, layers = step

    def gradients(ratio: float) -> int:
        work = find_work(graph, BATCH, [ratio] * layers)
        return sum(item.flops for item in work if item.operators == ("ConvWeightGradient",))

    assert gradients(0.9) == pytest.approx(gradients(0.0) / 10, rel=0.01)


def test_pieces_of_an_update_move_each_number_once(step: tuple[ir.Graph, int]) -> None:
    graph, layers = step
    trained = sum(
        np.prod(i.shape.numpy()) for i in graph.inputs if i.shape is not None and str(i.name).endswith("moment1")
    )
    moved = sum(i.bytes for i in find_work(graph, BATCH, [0.9] * layers) if i.operators == ("AdamUpdate",))
    assert moved == 7 * 4 * trained, "parameter and two moments, read and written, and the gradient"


def test_what_is_fused_does_not_reach_memory() -> None:
    graph = infer_graph("cifar_resnet20")
    apart, fused = find_work(graph, 1), find_fused_work(graph, 1)
    assert sum(item.flops for item in apart) == sum(item.flops for item in fused)
    first = next(item for item in fused if item.operators[0] == "Conv")
    maps, images, weights = 16 * 32 * 32, 3 * 32 * 32, 16 * 3 * 9 + 16
    assert first.operators == ("Conv", "Relu") and first.bytes == 4 * (images + weights + maps)
    assert sum(item.bytes for item in fused) < 0.6 * sum(item.bytes for item in apart)
    halved = sum(item.bytes for item in find_fused_work(graph, 1, float_bytes=2))
    assert halved == pytest.approx(sum(item.bytes for item in fused) / 2, rel=0.01)


def test_the_roofline_takes_the_longer_of_both() -> None:
    machine = Machine("CPU", "fp32", flops_per_second=100.0, bytes_per_second=10.0)
    found = bounded([Work(("Conv",), 300, 10), Work(("Add",), 10, 20)], machine, 1)
    assert found.seconds == 3 + 2 and found.bound == "compute" and (found.flops, found.bytes) == (310, 30)
    assert bounded([Work(("Conv",), 100, 10), Work(("Add",), 10, 20)], machine, 1).bound == "bandwidth"


def test_a_board_without_tensorrt_predicts_on_its_cpu() -> None:
    pi, nano = (estimate(load_target(name), "cifar_resnet20", 2, 0.9) for name in ("raspberry-pi-5", "orin-nano"))
    assert [i.machine.name for i in (*pi, *nano)] == ["CPU", "CPU", "GPU", "CPU"]
    assert pi[0].seconds > nano[0].seconds and pi[1].flops == nano[1].flops
    with pytest.raises(TargetError, match="not known"):
        estimate(load_target("host"), "cifar_resnet20", 2, 0.9)


def test_the_command_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "xavier-nx", "--model", "cifar_resnet20", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tensorrt"] == "8.5.2" and shown["facts"]["memory_gib"]["source"]
    assert "not verified on hardware" in shown["estimate"]["label"]
    assert shown["estimate"]["adaptation"]["images"] == 8 and shown["estimate"]["inference"]["seconds"] > 0
    assert main(["targets", "jetson-nano", "--model", "none"]) == 0
    assert "Python 3.6" in capsys.readouterr().out
    assert main(["targets", "host"]) == 0
    assert "no estimate" in capsys.readouterr().out
