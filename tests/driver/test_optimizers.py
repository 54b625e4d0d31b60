"""The driver's optimizers against torch's, several steps long."""

from typing import Any, cast

import numpy as np
import pytest
import torch

from toolchain.driver.methods.optimizers import PART, descend
from toolchain.driver.step import Step

RATE = 0.01


class Buffers:
    """What `descend` sees of a step: one parameter of more than one part."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.parameter = np.random.default_rng(0).standard_normal(PART + 7).astype(np.float32)
        self.tensors = {f"w.{kind}": np.zeros(PART + 7, np.float32) for kind in kinds}
        self.tensors["optimizer.step"] = np.zeros(1, np.float32)

    def of(self, role: str) -> dict[str, np.ndarray]:
        return {"w": self.parameter} if role == "parameter" else {}


def moved(numbers: dict[str, float]) -> np.ndarray:
    """The parameter after three steps."""
    step = Buffers(("gradient", "moment1", "moment2"))
    for gradient in gradients():
        step.tensors["w.gradient"][:] = gradient
        descend(cast(Step, step), numbers, RATE)
    return step.parameter


def gradients() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.standard_normal(PART + 7).astype(np.float32) for _ in range(3)]


def moved_by_torch(make: Any, **numbers: Any) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.from_numpy(Buffers(()).parameter.copy()))
    optimizer = make([parameter], lr=RATE, **numbers)
    for gradient in gradients():
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov: bool) -> None:
    found = moved({"momentum": 0.9, "nesterov": float(nesterov)})
    exact, other = (moved_by_torch(torch.optim.SGD, momentum=0.9, nesterov=kind) for kind in (nesterov, not nesterov))
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)
    assert np.abs(found - other).max() > 1e-3


def test_adam() -> None:
    found = moved({"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8})
    np.testing.assert_allclose(found, moved_by_torch(torch.optim.Adam), rtol=1e-5, atol=1e-6)
