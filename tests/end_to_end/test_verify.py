"""Bundles against eager PyTorch, and a verification that notices a broken compiler."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from graphs.layers import Layer
from graphs.passes.center_batchnorm import CenterBatchNorm
from graphs.passes.pipeline import rewriting
from graphs.passes.rewrite import Pass
from tests.end_to_end.conftest import Build, Run
from toolchain.models.resnext import CifarResNeXt
from toolchain.models.wide_resnet import WideResNet
from toolchain.pipeline import Request, build
from toolchain.verification import verify

# The third: images a batch, enough that one Relu which rounding flips does not decide what BatchNorm sees.
MODELS = [
    ("cifar_resnet20", {}, 2),
    ("cifar_resnet20", {"train": "bn"}, 2),
    ("cifar_resnet56", {"weights": "none"}, 2),
    ("resnet18", {"weights": "none", "image_size": 64}, 2),
    ("mobilenet_v2", {"weights": "none", "image_size": 64}, 8),
    ("wide_resnet50_2", {"weights": "none", "image_size": 64}, 4),
    ("efficientnet_lite0", {"image_size": 96}, 2),
    (f"{__name__}:small_vit", {"image_size": 32}, 2),
    (f"{__name__}:small_wide_resnet", {"image_size": 32}, 2),
    (f"{__name__}:small_resnext", {"image_size": 32}, 2),
]
"""Model, how it is built, and images a batch: with few, statistics of a last map of 2 x 2 amplify every rounding."""


def small_vit() -> nn.Module:
    module: nn.Module = VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10)
    nn.init.normal_(module.get_parameter("heads.head.weight"))
    return module


def small_wide_resnet() -> nn.Module:
    """Blocks that normalise first, and Relus that two convolutions read."""
    return WideResNet(depth=10, width=1)


def small_resnext() -> nn.Module:
    """Grouped convolutions."""
    return CifarResNeXt(depth=11, groups=4, group_width=8)


@pytest.mark.parametrize(("model", "chosen", "samples"), MODELS, ids=str)
def test_bundle_equals_eager(built: Build, model: str, chosen: dict[str, object], samples: int) -> None:
    failed = [check for check in verify(built(model, **chosen), samples, batches=1) if not check.passed]
    assert not failed, "\n".join(map(str, failed))


def test_verify_command_reports_checks(cifar: Path, toolchain: Run) -> None:
    done = toolchain("verify", str(cifar), "--batches", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["passed"]
    assert all({"name", "passed", "measured", "limit"} <= check.keys() for check in result["checks"])


def test_broken_rewrite_fails_verification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The negative control: a compiler that prunes BatchNorm's input as it stands, not centred."""

    def broken(layers: tuple[Layer, ...], trained: tuple[str, ...], *options: Any) -> tuple[Pass, ...]:
        return tuple(step for step in rewriting(layers, trained, *options) if not isinstance(step, CenterBatchNorm))

    monkeypatch.setattr("toolchain.stages.rewrite.rewriting", broken)
    build(Request("cifar_resnet20", "xavier-nx", output=tmp_path / "broken"))
    checks = verify(tmp_path / "broken", samples=2, batches=1)
    failed = {check.name for check in checks if not check.passed}
    assert {"portable, p = 0.9: gradients", "ort-training, p = 0.9: gradients"} <= failed, "\n".join(map(str, checks))
