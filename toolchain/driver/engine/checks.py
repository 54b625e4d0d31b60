"""What a device needs to know of its engine: does it predict, follow a refit, and how fast."""

import importlib
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from toolchain.driver.board import power_drawn, summarise_power
from toolchain.driver.bundle import Bundle
from toolchain.driver.checks import Check, check, compare
from toolchain.driver.engine.cuda import open_cuda
from toolchain.driver.engine.proof import LIMITS
from toolchain.driver.inference import InferenceModel
from toolchain.driver.latency import in_words, percentiles
from toolchain.driver.memory import measure_peak, resident_bytes
from toolchain.driver.predictor import AUTO, ONNXRUNTIME, TENSORRT, Choice, Predictor, open_predictor
from toolchain.driver.recorded import run_recorded
from toolchain.driver.step import Step
from toolchain.errors import DependencyError, EngineError

FRAMES = 50
"""Predictions whose latency is measured, after those that were compared."""

Recorded = Mapping[str, np.ndarray]


@dataclass
class EngineReport:
    """versions: of what is there beside onnxruntime. error: what TensorRT fails with, though it is there."""

    checks: List[Check] = field(default_factory=list)
    measured: Dict[str, Any] = field(default_factory=dict)
    versions: Dict[str, str] = field(default_factory=dict)
    error: Optional[str] = None

    def in_words(self) -> List[str]:
        """A line for what was measured, and one for each rail."""
        if not self.measured:
            return []
        found = self.measured
        power = [
            f"{rail}  {now['mean_mw']:.0f} mW, at most {now['max_mw']:.0f}" for rail, now in found["power"].items()
        ]
        times = f"step {found['step_seconds']:.2f} s  refit {found['refit_seconds']:.2f} s"
        return [f"{found['engine']}  {in_words(found['latency_ms'])}  {times}", *power]


def check_engine(bundle: Bundle, choice: Choice, recorded: Recorded) -> EngineReport:
    """Opens the engine, compares its logits with the recorded ones, adapts, refits and compares again."""
    report, model, step = EngineReport(), InferenceModel(bundle), Step(bundle, choice.threads)
    report.versions.update(_versions(choice.cuda))
    started = time.perf_counter()
    predictor = _open(model, choice, report)
    report.measured["engine"] = predictor.engine
    report.measured["engine_seconds"] = time.perf_counter() - started
    limit = float(recorded["tolerance"])
    images = np.ascontiguousarray(recorded["images"])
    report.checks.append(compare("engine: recorded logits", predictor.predict(images), recorded["infer_logits"], limit))
    with power_drawn() as rails:
        _adapt(step, recorded, report)
        _refit(predictor, model, step, choice, images, report)
        report.measured["latency_ms"] = percentiles(_predict_often(predictor, images[:1]))
    report.measured["resident_bytes"] = resident_bytes()
    report.measured["power"] = summarise_power(rails)
    return report


def _open(model: InferenceModel, choice: Choice, report: EngineReport) -> Predictor:
    """With auto, TensorRT that is not there is no fault; one that is there and fails is."""
    if choice.engine != AUTO:
        return open_predictor(model, None, choice)
    try:
        predictor = open_predictor(model, None, replace(choice, engine=TENSORRT))
        report.checks.append(check("engine: TensorRT works", 0.0, 0.0))
        return predictor
    except DependencyError:
        pass
    except EngineError as error:
        report.error = str(error)
        report.checks.append(check("engine: TensorRT works", 1.0, 0.0))
    return open_predictor(model, None, replace(choice, engine=ONNXRUNTIME))


def _versions(cuda: str) -> Dict[str, str]:
    """Of TensorRT, and of CUDA and the GPU behind it, where they are."""
    try:
        tensorrt: Any = importlib.import_module("toolchain.driver.engine.session_tensorrt")
    except ImportError:
        return {}
    try:
        found = open_cuda(cuda)
        return {"tensorrt": tensorrt.VERSION, "cuda": found.name, "gpu": found.device}
    except EngineError:
        return {"tensorrt": tensorrt.VERSION}


def _adapt(step: Step, recorded: Recorded, report: EngineReport) -> None:
    """Twice: the first step also loads what later ones find loaded."""
    run_recorded(step, recorded)
    started = time.perf_counter()
    _, report.measured["peak_step_bytes"] = measure_peak(lambda: run_recorded(step, recorded))
    report.measured["step_seconds"] = time.perf_counter() - started


def _refit(
    predictor: Predictor, model: InferenceModel, step: Step, choice: Choice, images: np.ndarray, report: EngineReport
) -> None:
    """Frames go on being predicted while the weights change."""
    started = time.perf_counter()
    weights = model.weights(step.tensors)
    report.measured["fold_seconds"] = time.perf_counter() - started
    thread = threading.Thread(target=predictor.refit, args=(weights,))
    started = time.perf_counter()
    thread.start()
    latency = _predict_while(thread, predictor, images[:1])
    report.measured["refit_seconds"] = time.perf_counter() - started
    report.measured["latency_while_refitting_ms"] = percentiles(latency)
    facts = model.facts
    expected = model.session(weights, choice.threads).run(facts.input, images, facts.output)
    limit = LIMITS[model.recipe.precision]
    report.checks.append(compare("engine: adapted logits", predictor.predict(images), expected, limit))


def _predict_while(thread: threading.Thread, predictor: Predictor, frame: np.ndarray) -> List[float]:
    seconds = []
    while thread.is_alive():
        seconds.append(_predict(predictor, frame))
    return seconds


def _predict_often(predictor: Predictor, frame: np.ndarray) -> List[float]:
    return [_predict(predictor, frame) for _ in range(FRAMES)]


def _predict(predictor: Predictor, frame: np.ndarray) -> float:
    started = time.perf_counter()
    predictor.predict(frame)
    return time.perf_counter() - started
