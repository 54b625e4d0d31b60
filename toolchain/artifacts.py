"""What passes from one stage of a build to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from graphs.layers import Layer
from graphs.saved import SavedTensor, Store
from toolchain.driver.manifest import Preprocessing
from toolchain.driver.refit import RefitEntry

RUNTIME_IR_VERSION = 10
"""The newest ONNX IR version that onnxruntime 1.19, here and on the oldest board, loads."""


@dataclass(frozen=True)
class Traced:
    """A model as a graph in eval mode.

    forward: `images` float32 [N, 3, H, W] -> `logits` float32 [N, C]; its initializers are named as the module's.
    tensors: every parameter and running statistic by name. parameters: the names of those that can be trained.
    """

    model: str
    image_size: int
    classes: int
    preprocessing: Preprocessing
    forward: ir.Model = field(repr=False)
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    parameters: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Differentiated:
    """What the differentiating engine wrote: the training graph and, in `folder`, its artifacts for a device."""

    training: ir.Model = field(repr=False)
    trained: tuple[str, ...] = field(repr=False)
    folder: Path


@dataclass(frozen=True)
class Rewritten:
    """The training graph with its saved activations pruned; `layers` in the order of `prune_ratios`."""

    training: ir.Model = field(repr=False)
    layers: tuple[Layer, ...]
    dense_saved_bytes_per_sample: int


@dataclass(frozen=True)
class Lowered:
    """The whole step: forward, loss, backward and optimizer; standard operators but for our own.

    stores: the pruned activations. saved: all else that waits.
    """

    step: ir.Model = field(repr=False)
    stores: tuple[Store, ...]
    saved: tuple[SavedTensor, ...]


@dataclass(frozen=True)
class Forms:
    """One graph in standard operators and in the native kernels."""

    portable: Lowered
    native: Lowered


@dataclass(frozen=True)
class Compiled:
    """All that a device runs to adapt.

    step: what every batch runs. predict: a forward pass alone, where the method needs it beside. trained: the names of
    the parameters that train; empty where nothing does, and then there is nothing differentiated or rewritten.
    constants: tensors that the graphs read beside those of the model, by name.
    """

    step: Forms
    predict: Forms | None = None
    differentiated: Differentiated | None = None
    rewritten: Rewritten | None = None
    constants: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def trained(self) -> tuple[str, ...]:
        return self.differentiated.trained if self.differentiated is not None else ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.rewritten.layers if self.rewritten is not None else ()

    @property
    def dense_saved_bytes_per_sample(self) -> int:
        return self.rewritten.dense_saved_bytes_per_sample if self.rewritten is not None else 0


@dataclass(frozen=True)
class Exported:
    """The inference model with BatchNorm folded, and how each of its weights follows from the parameters."""

    infer: onnx.ModelProto = field(repr=False)
    refit: tuple[RefitEntry, ...] = field(repr=False)
