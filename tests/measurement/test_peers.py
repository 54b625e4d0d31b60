"""What the eager peers train, and what their stopwatch says."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.measurement.eager import full_step
from toolchain.measurement.prepare import Prepared
from toolchain.measurement.stopwatch import Step, report
from toolchain.measurement.surgeon import surgeon_step
from toolchain.measurement.task import Load
from toolchain.measurement.tent import tent_step
from toolchain.models.cifar_resnet import resnet20

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LOAD = Load(4, 1, 1)
Make = Callable[[Prepared, Tensor, Load], Step]


def prepared() -> Prepared:
    torch.manual_seed(0)
    module = resnet20()
    return Prepared(module, [name for name, _ in module.named_parameters() if name.endswith("weight")], 16)


def changed_by(make: Make) -> set[str]:
    """The names of the parameters that a step changes."""
    given = prepared()
    before = {name: parameter.detach().clone() for name, parameter in given.module.named_parameters()}
    make(given, IMAGES, LOAD)()
    return {name for name, now in given.module.named_parameters() if not torch.equal(now, before[name])}


@pytest.mark.parametrize("make", [full_step, surgeon_step])
def test_what_the_bundle_trains_is_updated(make: Make) -> None:
    assert changed_by(make) == set(prepared().trained)


def test_tent_updates_batchnorm_alone_and_forgets_running_statistics() -> None:
    norms = {name for name, found in prepared().module.named_modules() if isinstance(found, nn.BatchNorm2d)}
    assert changed_by(tent_step) == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    given = prepared()
    tent_step(given, IMAGES, LOAD)
    assert not any(name.endswith("running_mean") for name, _ in given.module.named_buffers())


def test_tent_refuses_a_model_without_batchnorm() -> None:
    given = Prepared(nn.Linear(2, 2), ["weight"], 16)
    with pytest.raises(ModelError, match="BatchNorm"):
        tent_step(given, IMAGES, LOAD)


def test_the_stopwatch_sees_what_a_step_allocates(capsys: pytest.CaptureFixture[str]) -> None:
    size = 64 << 20

    def peak(step: Step, buffers: int = 0) -> int:
        report(step, 1, buffers)
        found: int = json.loads(capsys.readouterr().out)["peak_step_bytes"]
        return found

    assert peak(lambda: torch.ones(size // 4)) >= size
    assert peak(lambda: None) < size
    assert peak(lambda: None, buffers=size) >= size


def test_what_the_first_step_hoards_counts(capsys: pytest.CaptureFixture[str]) -> None:
    held: list[Tensor] = []
    size = 64 << 20

    def step() -> None:
        held[:] = held or [torch.ones(size // 4)]

    report(step, 1, hoards=True)
    assert json.loads(capsys.readouterr().out)["peak_step_bytes"] >= size
    report(step, 1, hoards=False)
    assert json.loads(capsys.readouterr().out)["peak_step_bytes"] < size
