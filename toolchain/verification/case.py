"""A bundle beside the eager model that it was built from."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toolchain.driver.bundle import PARAMETERS, Bundle
from toolchain.driver.manifest import Manifest
from toolchain.driver.persistent import shipped_tensors
from toolchain.driver.step import available_forms, example_feeds
from toolchain.driver.tensors import read_tensors
from toolchain.methods import Choices, find_method
from toolchain.methods.declaration import Method, Optimizer
from toolchain.models.meta_networks import with_meta_networks
from toolchain.models.registry import load_model
from toolchain.reference.ecotta import EcottaStep
from toolchain.reference.mecta import MectaStep
from toolchain.reference.objective import Objective
from toolchain.reference.step import Anchor, EagerStep

SELECTABLE = 8
"""Of so many random images a trained model is sure of some, as a rule, which a method that selects learns from."""


@dataclass(frozen=True)
class Case:
    """module: in eval mode, with the bundle's own parameters. samples: images a batch."""

    bundle: Bundle
    module: nn.Module
    method: Method
    samples: int
    count: int

    @classmethod
    def load(cls, path: Path, samples: int, count: int) -> "Case":
        """Raises BundleError, and ModelError or UsageError where the model is not to be had here."""
        bundle = Bundle(path)
        facts = bundle.manifest
        method = find_method(facts.method.name, Choices(**facts.method.choices))
        module = load_model(facts.model.name, "none", facts.model.image_size).module
        if method.meta_networks is not None:
            module = with_meta_networks(module, facts.model.image_size)
        shipped = read_tensors(bundle.file(PARAMETERS)).tensors
        module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in shipped.items()}, strict=False)
        return cls(bundle, module, method, max(samples, SELECTABLE if method.selection else 1), count)

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms of the step that this machine can run."""
        return available_forms(self.manifest)

    @property
    def trained(self) -> list[str]:
        return [tensor.name for tensor in self.manifest.step.inputs_of("parameter")]

    @property
    def optimizer(self) -> Optimizer:
        """Of a method that trains."""
        assert self.method.optimizer is not None
        return self.method.optimizer

    def eager(self, dtype: torch.dtype, learning_rate: float | None = None) -> EagerStep:
        """A fresh eager step in float32 or float64. learning_rate: None for the method's own."""
        optimizer = self.optimizer
        if learning_rate is not None:
            optimizer = dataclasses.replace(optimizer, learning_rate=learning_rate)
        return self._twin(
            self.copy(dtype),
            [(layer.name, layer.kind) for layer in self.manifest.layers],
            self.trained,
            optimizer,
            momentum=self.method.momentum,
            half=self.manifest.step.value_bits == 16,
            objective=Objective(self.method),
            anchor=self._anchor(dtype),
            source_samples=self.method.source_samples,
        )

    @property
    def _twin(self) -> Callable[..., EagerStep]:
        if self.method.mecta is not None:
            return partial(MectaStep, numbers=self.method.mecta)
        if self.method.meta_networks is not None:
            return partial(EcottaStep, weight=self.method.meta_networks.distillation)
        return EagerStep

    def copy(self, dtype: torch.dtype) -> nn.Module:
        return copy.deepcopy(self.module).to(dtype)

    def _anchor(self, dtype: torch.dtype) -> Anchor | None:
        if self.method.anchor is None:
            return None
        shipped = {name: torch.from_numpy(array).to(dtype) for name, array in shipped_tensors(self.bundle).items()}
        fisher, start = ({name: shipped[f"{name}.{kind}"] for name in self.trained} for kind in ("fisher", "source"))
        return Anchor(self.method.anchor.strength, fisher, start)

    def feeds(self) -> dict[str, np.ndarray]:
        """What the step is fed beside images: seeded."""
        random = np.random.default_rng(3)
        return example_feeds(self.manifest.step, self.manifest.model.classes, self.samples, random)

    def batches(self, count: int | None = None) -> Iterator[np.ndarray]:
        """Seeded images float32 [samples, 3, H, W], normally distributed."""
        side = self.manifest.model.image_size
        random = np.random.default_rng(1)
        for _ in range(self.count if count is None else count):
            yield random.standard_normal((self.samples, self.manifest.model.channels, side, side), np.float32)

    def ratios(self) -> Iterator[tuple[str, np.ndarray]]:
        """The prune ratios at which gradients are compared."""
        layers = len(self.manifest.layers)
        random = np.random.default_rng(2)
        yield "p = 0", np.zeros(layers, np.float32)
        yield "p random", random.uniform(0, 1, layers).astype(np.float32)
        yield "p = 0.9", np.full(layers, 0.9, np.float32)
