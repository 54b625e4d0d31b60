"""Two TensorRT engines of one plan: one predicts while the other is refitted, then they change places."""

import threading
from typing import Callable, Optional

import numpy as np

from toolchain.driver.engine.cuda import open_cuda
from toolchain.driver.engine.plan import PlanStore
from toolchain.driver.engine.proof import prove
from toolchain.driver.engine.session_tensorrt import VERSION, Engine, check_version
from toolchain.driver.inference import InferenceModel, Tensors
from toolchain.driver.output import warn
from toolchain.driver.predictor import Choice, OnnxPredictor
from toolchain.errors import EngineError

PATIENCE = 3
"""Failures in succession after which TensorRT is not tried again."""

Make = Callable[[], Engine]


class _Slot:
    """Place of an engine; whoever uses it holds the lock. engine: None once it has failed."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Optional[Engine] = engine
        self.lock = threading.Lock()


class LiveEngines:
    """Predicts with the weights of the last refit, whatever fails.

    An engine that fails is thrown away, and onnxruntime answers until the next refit opens another one.
    """

    def __init__(
        self, model: InferenceModel, weights: Tensors, precision: str, threads: Optional[int], make: Make
    ) -> None:
        """make: opens an engine of this precision. Raises EngineError if it does not compute what onnxruntime does."""
        engines = (make(), make())
        prove(engines, model, weights, precision, threads)
        self._model = model
        self._weights = weights
        self._precision = precision
        self._threads = threads
        self._make = make
        self._constants = model.constants()
        self._slots = (_Slot(engines[0]), _Slot(engines[1]))
        self._active: Optional[_Slot] = self._slots[0]
        self._switch = threading.Lock()
        self._failures = 0
        self._spare: Optional[OnnxPredictor] = None

    @property
    def engine(self) -> str:
        return f"TensorRT {VERSION} {self._precision}" if self._active else OnnxPredictor.engine

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits of the active engine or, where it fails, of onnxruntime with the same weights."""
        while True:
            slot = self._active
            if slot is None:
                return self._without_engine().predict(images)
            with slot.lock:
                if slot is self._active and slot.engine is not None:
                    try:
                        return self._succeeded(slot.engine.predict(images))
                    except EngineError as error:
                        self._throw_away(slot, error)

    def refit(self, weights: Tensors) -> None:
        """Waits for what the resting engine may still compute; predictions never wait for this."""
        resting = self._slots[self._active is self._slots[0]]
        while self._failures < PATIENCE:
            with resting.lock:
                try:
                    self._set_weights(resting, weights)
                    return self._switch_to(resting, weights)
                except EngineError as error:
                    self._throw_away(resting, error)
        self._switch_to(None, weights)

    def _set_weights(self, slot: _Slot, weights: Tensors) -> None:
        if slot.engine is None:
            slot.engine = self._make()
        slot.engine.refit(weights, self._constants)

    def _switch_to(self, slot: Optional[_Slot], weights: Tensors) -> None:
        """slot: the engine that has these weights; None: onnxruntime, whose session is made before the switch."""
        spare = OnnxPredictor(self._model, weights, self._threads) if slot is None else None
        with self._switch:
            self._weights, self._spare, self._active = weights, spare, slot

    def _throw_away(self, slot: _Slot, error: EngineError) -> None:
        """The caller holds the slot's lock."""
        warn(f"an engine is given up: {error}")
        failed, slot.engine = slot.engine, None
        with self._switch:
            self._failures += 1
            if self._active is slot:
                self._active = None
        if failed is not None:
            failed.close()

    def _without_engine(self) -> OnnxPredictor:
        with self._switch:
            if self._spare is None:
                self._spare = OnnxPredictor(self._model, self._weights, self._threads)
            return self._spare

    def _succeeded(self, logits: np.ndarray) -> np.ndarray:
        self._failures = 0
        return logits


def open_engines(model: InferenceModel, weights: Tensors, choice: Choice) -> LiveEngines:
    """In the precision of the recipe or, where that fails, in float32. Raises EngineError."""
    check_version()
    wanted = model.recipe.precision
    if wanted != "fp32":
        try:
            return _open(model, weights, choice, wanted)
        except EngineError as error:
            warn(f"{error}: computing in float32 instead of {wanted}")
    return _open(model, weights, choice, "fp32")


def _open(model: InferenceModel, weights: Tensors, choice: Choice, precision: str) -> LiveEngines:
    """Engines of this device, from its cache or built now."""
    store = PlanStore(model, open_cuda(choice.cuda).device, choice.folder, precision)

    def make() -> Engine:
        return Engine(store.plan, open_cuda(choice.cuda), model.max_batch)

    try:
        make().close()
    except EngineError:
        store.build()
    return LiveEngines(model, weights, precision, choice.threads, make)
