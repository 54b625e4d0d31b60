"""Boards as their files describe them, and what their inference engines take."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from graphs.kernels.build import PLATFORMS
from graphs.passes.lower_layernorm import LowerLayerNorm
from targets import Target, load_target, parsed_operators, target_names
from toolchain.artifacts import Traced
from toolchain.errors import TargetError
from toolchain.models.registry import LoadedModel, imagenet_preprocessing
from toolchain.stages import export as export_stage
from toolchain.stages.export import export
from toolchain.stages.trace import trace

BOARDS = ("agx-orin", "agx-xavier", "jetson-nano", "orin-nano", "orin-nx", "raspberry-pi-5", "xavier-nx")
OLDEST_DRIVER = (3, 8)
OLDEST_RUNTIME = (1, 19, 2)
NEEDED = {"platform", "python", "onnxruntime", "inference_opset", "precision"}
OF_A_BOARD = NEEDED | {"os", "glibc", "memory_gib", "memory_bandwidth_gb_per_second", "cpu_fp32_gflops"}


class Norms(nn.Module):
    """LayerNorm over one and over three axes, with and without a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.LayerNorm([3, 8, 8], eps=1e-3)
        self.conv = nn.Conv2d(3, 6, 3)
        self.row = nn.LayerNorm(6, bias=False)
        self.head = nn.Linear(6, 4)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv(self.image(images))
        return self.head(self.row(maps.mean((2, 3))))  # type: ignore[no-any-return]


class Rounded(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(maps[:, :1, :3, :3])  # type: ignore[no-any-return]


def traced(module: nn.Module, name: str = "small") -> Traced:
    return trace(LoadedModel(name, module.eval(), 8, imagenet_preprocessing(8, 8)))


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_boards_are_there() -> None:
    assert set(target_names()) == {*BOARDS, "host"}


@pytest.mark.parametrize("name", [*BOARDS, "host"])
def test_a_target_decides_what_a_build_needs(name: str) -> None:
    target = load_target(name)
    assert (NEEDED if name == "host" else OF_A_BOARD) <= set(target.facts)
    assert target.platform in PLATFORMS and target.precision in ("fp32", "fp16")
    assert all(fact.source.strip() for fact in target.facts.values())
    assert target.as_json()["precision"] == target.precision


@pytest.mark.parametrize("name", [*BOARDS, "host"])
def test_a_bundle_can_run_there(name: str) -> None:
    facts = load_target(name).facts
    assert version(facts["python"].value) >= OLDEST_DRIVER
    assert version(facts["onnxruntime"].value) >= OLDEST_RUNTIME
    assert name == "host" or version(facts["glibc"].value) >= (2, 27), "of the stock onnxruntime 1.19.2"


@pytest.mark.parametrize("name", BOARDS)
def test_float16_is_for_tensorrt_and_its_cores_are_faster(name: str) -> None:
    target = load_target(name)
    half, single = target.number("gpu_fp16_gflops"), target.number("gpu_fp32_gflops")
    assert (target.precision == "fp16") == (target.tensorrt is not None) == (half is not None)
    assert half is None or (single is not None and half > single)


def test_a_newer_parser_takes_more() -> None:
    oldest, newest = parsed_operators("8.5.2"), parsed_operators("10.3")
    assert oldest < parsed_operators("8.6.1") < newest
    assert "LayerNormalization" in newest - oldest
    assert not {"Det", "Unique", "Compress", "MaxUnpool"} & newest


def test_every_parsed_operator_is_one_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert parsed_operators("99") <= known


def test_a_tensorrt_older_than_the_table_is_refused() -> None:
    with pytest.raises(LookupError, match=r"8\.2\.1"):
        parsed_operators("8.2.1")


def test_layernorm_is_expressed_by_what_the_parser_takes() -> None:
    model = traced(Norms())
    kept, lowered = (operators(export(model, load_target(name)).infer) for name in ("orin-nano", "xavier-nx"))
    assert kept.count("LayerNormalization") == 2
    assert "LayerNormalization" not in lowered and set(lowered) <= parsed_operators("8.5")
    np.testing.assert_allclose(predicted(model, load_target("xavier-nx")), expected(), rtol=0, atol=2e-5)


def test_the_comparison_notices_another_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr("graphs.passes.lower_layernorm.EPSILON", 1e-2)
    model = traced(Norms())
    for node in model.forward.graph:
        node.attributes.pop("epsilon", None)
    difference = predicted(model, load_target("xavier-nx")) - expected()
    assert np.abs(difference).max() > 1e-3


def test_the_names_of_weights_stay() -> None:
    model = traced(Norms())
    exported = export(model, load_target("xavier-nx"))
    names = {tensor.name for tensor in exported.infer.graph.initializer}
    assert {entry.name for entry in exported.refit} == set(model.tensors) <= names


def test_an_operator_that_the_parser_does_not_take_is_refused() -> None:
    model = traced(nn.Sequential(nn.Conv2d(3, 4, 3), Rounded()), "determined")
    with pytest.raises(TargetError) as refused:
        export(model, load_target("agx-orin"))
    words = ("TensorRT 10.3", "agx-orin", "Det", "determined", "module 1 ", "Rounded", "another target")
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert "Det" in operators(export(model, load_target("raspberry-pi-5")).infer), "ONNX Runtime takes it"


def test_what_is_left_behind_the_rewrite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_stage, "LowerLayerNorm", Idle)
    with pytest.raises(TargetError, match=r"LayerNormalization.*module image .*1 more such node"):
        export(traced(Norms()), load_target("xavier-nx"))


class Idle(LowerLayerNorm):
    def applies(self, node: object) -> bool:
        return False


def operators(model: onnx.ModelProto) -> Sequence[str]:
    return [node.op_type for node in model.graph.node]


IMAGES = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)


def predicted(model: Traced, target: Target) -> np.ndarray:
    session = onnxruntime.InferenceSession(export(model, target).infer.SerializeToString())
    (logits,) = session.run(["logits"], {"images": IMAGES})
    return np.asarray(logits)


def expected() -> np.ndarray:
    with torch.no_grad():
        return Norms().eval()(torch.from_numpy(IMAGES)).numpy()  # type: ignore[no-any-return]
