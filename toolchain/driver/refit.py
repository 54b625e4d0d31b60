"""Adapted weights folded into what the inference graph holds, by the table in infer/tensorrt.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Mapping, Optional, Set, Tuple

import numpy as np

from toolchain.driver.structure import Mismatch, decode
from toolchain.errors import BundleError


@dataclass(frozen=True)
class BatchNorm:
    """Names of the tensors of a BatchNorm; weight None is 1, bias None is 0."""

    running_mean: str
    running_var: str
    epsilon: float
    weight: Optional[str] = None
    bias: Optional[str] = None


@dataclass(frozen=True)
class RefitEntry:
    """One initialiser of the inference graph and what it is made of.

    With s = γ/√(σ² + ε) of `batchnorm`: weight W·s on axis 0; bias (b - μ)·s + β; scale s; shift β - μ·s; copy: the
    parameter. Without batchnorm, weight and bias are copies; without parameter, b is 0.
    """

    name: str
    kind: str
    shape: Tuple[int, ...]
    parameter: Optional[str] = None
    batchnorm: Optional[BatchNorm] = None


@dataclass(frozen=True)
class Recipe:
    """precision: "fp32" or "fp16", in which an engine computes."""

    refit: Tuple[RefitEntry, ...]
    precision: str = "fp32"

    @property
    def sources(self) -> Set[str]:
        """The tensors that the weights are made of."""
        norms = [entry.batchnorm for entry in self.refit if entry.batchnorm is not None]
        found = {name for norm in norms for name in (norm.running_mean, norm.running_var, norm.weight, norm.bias)}
        return {name for name in found | {entry.parameter for entry in self.refit} if name is not None}


Tensors = Mapping[str, np.ndarray]


def read_recipe(path: Path) -> Recipe:
    """Read infer/tensorrt.json. Raises BundleError."""
    try:
        return decode(Recipe, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, Mismatch) as error:
        raise BundleError(f"{path} cannot be used ({error}): build the bundle again") from error


def fold(recipe: Recipe, tensors: Tensors) -> Dict[str, np.ndarray]:
    """Every initialiser of the recipe, float32, from the tensors of the step. Raises BundleError."""
    return {entry.name: fold_entry(entry, tensors) for entry in recipe.refit}


def fold_entry(entry: RefitEntry, tensors: Tensors) -> np.ndarray:
    """One initialiser, float32, computed in float64; never the memory of a tensor, which the next step changes."""
    try:
        value = _KINDS[entry.kind](entry, tensors)
        return np.array(np.reshape(value, entry.shape), np.float32, order="C")
    except (KeyError, ValueError) as error:
        raise BundleError(f"the refit entry {entry.name} is unusable ({error}): build the bundle again") from error


def _scale(entry: RefitEntry, tensors: Tensors) -> np.ndarray:
    norm = _norm(entry)
    deviation = np.sqrt(tensors[norm.running_var].astype(np.float64) + norm.epsilon)
    return (tensors[norm.weight] if norm.weight else 1.0) / deviation


def _shift(entry: RefitEntry, tensors: Tensors, bias: object = 0.0) -> np.ndarray:
    """β + (bias - μ)·s."""
    norm = _norm(entry)
    beta = tensors[norm.bias] if norm.bias else 0.0
    return (bias - tensors[norm.running_mean].astype(np.float64)) * _scale(entry, tensors) + beta  # type: ignore[operator, no-any-return]


def _weight(entry: RefitEntry, tensors: Tensors) -> np.ndarray:
    weight = _copy(entry, tensors)
    if entry.batchnorm is None:
        return weight
    return weight * _scale(entry, tensors).reshape([-1] + [1] * (weight.ndim - 1))  # type: ignore[no-any-return]


def _bias(entry: RefitEntry, tensors: Tensors) -> np.ndarray:
    bias = _copy(entry, tensors) if entry.parameter else np.zeros(entry.shape)
    return bias if entry.batchnorm is None else _shift(entry, tensors, bias.reshape(-1))


def _copy(entry: RefitEntry, tensors: Tensors) -> np.ndarray:
    return tensors[str(entry.parameter)]


def _norm(entry: RefitEntry) -> BatchNorm:
    if entry.batchnorm is None:
        raise ValueError(f"the kind {entry.kind} needs a batchnorm")
    return entry.batchnorm


_KINDS = {"weight": _weight, "bias": _bias, "scale": _scale, "shift": _shift, "copy": _copy}
