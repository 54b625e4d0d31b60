"""Predictions while the weights are replaced: by TensorRT where it is, else by ONNX Runtime."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.inference import InferenceModel, Tensors
from toolchain.driver.output import warn
from toolchain.driver.session_onnxruntime import VERSION
from toolchain.errors import DependencyError, EngineError

AUTO, TENSORRT, ONNXRUNTIME = "auto", "tensorrt", "onnxruntime"
CHOICES = (AUTO, TENSORRT, ONNXRUNTIME)


@dataclass(frozen=True)
class Choice:
    """engine: one of CHOICES. cuda: the way to CUDA. folder: where an engine may be kept."""

    engine: str
    cuda: str
    threads: Optional[int]
    folder: Path


def choice_from(options: Any, bundle: Bundle) -> Choice:
    """What the command line says."""
    return Choice(options.engine, options.cuda, options.threads, options.state or bundle.default_state)


class Predictor(Protocol):
    """Any thread may predict while one other thread refits."""

    @property
    def engine(self) -> str:
        """What answers now, with its version."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 [N, C] for images float32 [N, 3, H, W]."""

    def refit(self, weights: Tensors) -> None:
        """From now on predict with these weights of the inference graph."""


class OnnxPredictor:
    """A session that gives way to the next one as soon as that is made; what still runs on it ends well."""

    engine = f"onnxruntime {VERSION}"

    def __init__(self, model: InferenceModel, weights: Optional[Tensors], threads: Optional[int]) -> None:
        self._model = model
        self._threads = threads
        self._session = model.session(weights, threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        facts = self._model.facts
        return self._session.run(facts.input, images, facts.output)

    def refit(self, weights: Tensors) -> None:
        self._session = self._model.session(weights, self._threads)


def open_predictor(model: InferenceModel, adapted: Optional[Tensors], choice: Choice) -> Predictor:
    """With the weights of adapted tensors; None: as shipped.

    Raises DependencyError or EngineError where TensorRT was asked for by name and cannot be used.
    """
    if choice.engine != ONNXRUNTIME:
        try:
            live: Any = importlib.import_module("toolchain.driver.engine.live")
            return live.open_engines(model, model.weights(adapted), choice)  # type: ignore[no-any-return]
        except ImportError as error:
            if choice.engine == TENSORRT:
                raise DependencyError(f"TensorRT cannot be imported ({error}): use --engine onnxruntime") from error
        except EngineError as error:
            if choice.engine == TENSORRT:
                raise
            warn(f"{error}: predicting with onnxruntime instead")
    weights = None if adapted is None else model.weights(adapted)
    return OnnxPredictor(model, weights, choice.threads)
