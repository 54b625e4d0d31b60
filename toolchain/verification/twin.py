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
from toolchain.reference.forward import ForwardReference
from toolchain.reference.layer_rates import LayerRatesReference
from toolchain.reference.objective import Feeds, Objective
from toolchain.reference.sharpness import SharpnessReference
from toolchain.reference.step import StepResult
from toolchain.reference.teacher import TeacherReference
from toolchain.reference.two_views import TwoViewsReference
from toolchain.verification.case import Case

Prepare = Callable[[Tensor], Feeds]
Probe = Callable[[Tensor, Tensor, Feeds], StepResult]
Learn = Callable[[Tensor, Tensor, float, Feeds], StepResult]
"""Of images [N, 3, H, W], prune ratios [L], a learning rate, and what was prepared."""


def nothing(images: Tensor) -> Feeds:
    return {}


@dataclass(frozen=True)
class Twin:
    """prepare, then learn: one batch, as a procedure of the driver does it; the `logits` are the prediction.

    models: what it changes, now; the suffix of the names of its tensors, and the module. probe: gradients alone, of
    samples that all count alike; None where nothing trains.
    """

    learn: Learn
    models: Callable[[], dict[str, nn.Module]]
    probe: Probe | None = None
    prepare: Prepare = nothing

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
    return Twin(lambda images, *others: reference.adapt(images), lambda: {"": reference.model})


def _step(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    step, channels = case.eager(dtype), channels_of(case.manifest.step)
    prepare: Prepare = (lambda images: {"channel_keys": chance.keys(channels)}) if channels else nothing
    return Twin(step.run, lambda: {"": step.model}, step.probe, prepare)


def _teacher(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, Teacher)
    reference = TeacherReference(case.eager(dtype), numbers, chance.augment, chance.chances)
    models = lambda: {"": reference.student.model, ".teacher": reference.teacher}  # noqa: E731
    return Twin(reference.learn, models, reference.student.probe, reference.prepare)


def _sharpness(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, Sharpness)
    reference = SharpnessReference(partial(case.eager, dtype), numbers)
    probe: Probe = lambda *batch: reference.step.probe(*batch)  # noqa: E731 (a reset makes another step)
    return Twin(_unprepared(reference.adapt), lambda: {"": reference.step.model}, probe)


def _two_views(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers = case.method.beside
    assert isinstance(numbers, TwoViews)
    reference = TwoViewsReference(case.eager(dtype), numbers, _without_targets(case.method), chance.augment)
    return Twin(_unprepared(reference.adapt), lambda: {"": reference.step.model}, reference.step.probe)


def _layer_rates(case: Case, dtype: torch.dtype, chance: _Chance) -> Twin:
    numbers, optimizer = case.method.beside, case.method.optimizer
    assert isinstance(numbers, LayerRates) and isinstance(optimizer, Adam)
    reference = LayerRatesReference(case.eager(dtype), numbers, optimizer, chance.augment)
    return Twin(_unprepared(reference.adapt), lambda: {"": reference.step.model}, reference.step.probe)


def _unprepared(adapt: Callable[[Tensor, Tensor, float], StepResult]) -> Learn:
    return lambda images, ratios, learning_rate, feeds: adapt(images, ratios, learning_rate)


def _without_targets(method: Method) -> Objective:
    return Objective(replace(method, loss=("entropy",)))


_MAKERS: dict[type, Callable[[Case, torch.dtype, _Chance], Twin]] = {
    type(None): _step,
    Teacher: _teacher,
    Sharpness: _sharpness,
    TwoViews: _two_views,
    LayerRates: _layer_rates,
}
