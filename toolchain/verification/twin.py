"""The eager twin of a bundle's method, whichever that is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.driver.methods.augmentation import Augmentation
from toolchain.driver.step import channels_of
from toolchain.methods.declaration import Adam, LayerRates, Method, Sharpness, Teacher, TwoViews
from toolchain.reference.layer_rates import LayerRatesReference
from toolchain.reference.mixed_statistics import ForwardReference
from toolchain.reference.objective import Objective
from toolchain.reference.sharpness import SharpnessReference
from toolchain.reference.teacher import TeacherReference
from toolchain.reference.two_views import TwoViewsReference
from toolchain.verification.case import Case

Adapt = Callable[[Tensor, Tensor, float], Tensor]
"""Images [N, 3, H, W], prune ratios [L] and a learning rate to the prediction, logits [N, C]."""


@dataclass(frozen=True)
class Twin:
    """adapt: one batch. models: what it changes, now; the suffix of the names of its tensors, and the module."""

    dtype: torch.dtype
    adapt: Adapt
    models: Callable[[], dict[str, nn.Module]]

    def run(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float) -> np.ndarray:
        logits = self.adapt(torch.from_numpy(images).to(self.dtype), torch.from_numpy(ratios), learning_rate)
        return logits.numpy()

    def tensors(self) -> dict[str, np.ndarray]:
        """Every parameter and running statistic, by the name it has in the driver's state."""
        return {
            name + suffix: tensor.detach().numpy().copy()
            for suffix, module in self.models().items()
            for name, tensor in module.state_dict().items()
        }


def make_twin(case: Case, dtype: torch.dtype, random: np.random.Generator) -> Twin:
    """random: a generator in the state of the one that the driver's procedure has."""
    make = _MAKERS[type(case.method.beside)] if case.method.optimizer is not None else _forward
    return make(case, dtype, _Chance(Augmentation(case.manifest.model.preprocessing, random), random, dtype))


@dataclass(frozen=True)
class _Chance:
    """What a method leaves to chance, drawn as the driver draws it."""

    augmentation: Augmentation
    random: np.random.Generator
    dtype: torch.dtype

    def augment(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.augmentation(images.to(torch.float32).numpy())).to(self.dtype)

    def keys(self, channels: int) -> Tensor:
        return torch.from_numpy(self.random.random(channels, np.float32))

    def chances(self, parameter: Tensor) -> Tensor:
        return torch.from_numpy(self.random.random(tuple(parameter.shape), np.float32))


def _forward(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    method = case.method
    reference = ForwardReference(case.copy(dtype), method.statistics, method.source_samples, method.momentum)
    return Twin(dtype, lambda images, ratios, rate: reference.adapt(images), lambda: {"": reference.model})


def _step(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    step, channels = case.eager(dtype), channels_of(case.manifest.step)

    def adapt(images: Tensor, ratios: Tensor, rate: float) -> Tensor:
        feeds = {"channel_keys": chance.keys(channels)} if channels else None
        return step.run(images, ratios, rate, feeds).logits

    return Twin(dtype, adapt, lambda: {"": step.model})


def _teacher(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, Teacher)
    reference = TeacherReference(case.eager(dtype), numbers, chance.augment, chance.chances)
    return Twin(dtype, reference.adapt, lambda: {"": reference.student.model, ".teacher": reference.teacher})


def _sharpness(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, Sharpness)
    reference = SharpnessReference(partial(case.eager, dtype), numbers)
    return Twin(dtype, lambda *batch: reference.adapt(*batch).logits, lambda: {"": reference.step.model})


def _two_views(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, TwoViews)
    reference = TwoViewsReference(case.eager(dtype), numbers, _without_targets(case.method), chance.augment)
    return Twin(dtype, reference.adapt, lambda: {"": reference.step.model})


def _layer_rates(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers, optimizer = case.method.beside, case.method.optimizer
    assert isinstance(numbers, LayerRates) and isinstance(optimizer, Adam)
    reference = LayerRatesReference(case.eager(dtype), numbers, optimizer, chance.augment)
    return Twin(dtype, reference.adapt, lambda: {"": reference.step.model})


def _without_targets(method: Method) -> Objective:
    return Objective(replace(method, loss=("entropy",)))


_MAKERS: dict[type, Callable[[Case, torch.dtype, _Chance], Twin]] = {
    type(None): _step,
    Teacher: _teacher,
    Sharpness: _sharpness,
    TwoViews: _two_views,
    LayerRates: _layer_rates,
}
