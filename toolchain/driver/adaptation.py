"""What happens to one batch: importance, prune ratios, budget, step, result."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from toolchain.driver.budget import Work, fit_ratios, prediction_work, probe_work, require_fit
from toolchain.driver.controller import surgeon_ratios, uniform_ratios
from toolchain.driver.manifest import Manifest
from toolchain.driver.methods import open_procedure
from toolchain.driver.needs import kept_bytes
from toolchain.driver.step import Feeds, Step, StepResult
from toolchain.errors import BundleError, InputError, UsageError

_NOT_FINITE = "is not finite: back to the last saved state; if this goes on, lower --learning-rate"


@dataclass(frozen=True)
class Settings:
    """How to adapt. prune_ratios: float32 [L], or None: the method's controller decides. budget: bytes, or None."""

    prune_ratios: Optional[np.ndarray]
    importance: str
    budget: Optional[int]
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class BatchResult:
    """What a batch gave.

    selected: of its images, how many were learnt from. predicted_peak_bytes: of all that ran. seconds: of that, too,
    without decoding and saving.
    """

    loss: float
    predictions: List[int]
    kept_bytes: int
    dense_bytes: int
    predicted_peak_bytes: int
    prune_ratios: List[float]
    seconds: float
    selected: int


class SkippedBatch(Exception):
    """A batch that cannot be learnt from. state_is_lost: the state may be the cause, or have taken harm."""

    def __init__(self, reason: str, state_is_lost: bool) -> None:
        super().__init__(reason)
        self.state_is_lost = state_is_lost


class Adapter:
    """Feeds batches to the step; remembers the importance that the last one showed."""

    def __init__(self, manifest: Manifest, step: Step, settings: Settings, seen: int = 0) -> None:
        """seen: how many batches the state has behind it, so that what is drawn for the next ones is new."""
        self._manifest = manifest
        self._step = step
        self._settings = settings
        self._random = np.random.default_rng([settings.seed, seen])
        self._procedure = open_procedure(manifest, step, self._random)
        self._last_grad_rms: Optional[np.ndarray] = None
        self._predicted = 0

    def adapt(self, images: np.ndarray) -> BatchResult:
        """Predict float32 images [N, C, H, W] and learn from them. Raises SkippedBatch; UsageError for the budget."""
        started = time.perf_counter()
        if not np.isfinite(images).all():
            raise SkippedBatch("the images hold NaN or Inf", state_is_lost=False)
        self._require_fit(len(images))
        feeds = self._procedure.prepare(images)
        ratios = self._ratios(images, feeds)
        result = self._procedure.learn(images, ratios, self._settings.learning_rate, feeds)
        if not (result.is_finite and self._step.state_is_finite):
            raise SkippedBatch(f"the loss, a gradient or an updated parameter {_NOT_FINITE}", state_is_lost=True)
        if result.selected:
            self._last_grad_rms = result.grad_rms
        return self._describe(result, ratios, time.perf_counter() - started)

    def _require_fit(self, batch: int) -> None:
        """Whether the budget can be kept is known before anything runs."""
        self._predicted = 0
        works = [Work(self._manifest, self._step.facts, batch)]
        if self._step.predict_facts is not None:
            works.append(prediction_work(self._manifest, self._step.predict_facts, batch))
            self._predicted = works[-1].least.bytes
        if self._settings.budget is not None:
            for work in works:
                require_fit(work, self._settings.budget)

    def _ratios(self, images: np.ndarray, feeds: Feeds) -> np.ndarray:
        """What the method wants, inside the budget."""
        return self._fit(Work(self._manifest, self._step.facts, len(images)), self._wanted_ratios(images, feeds))

    def _wanted_ratios(self, images: np.ndarray, feeds: Feeds) -> np.ndarray:
        if self._settings.prune_ratios is not None:
            return self._settings.prune_ratios
        method, layers = self._manifest.method, len(self._manifest.layers)
        if method.controller == "dense":
            return uniform_ratios(layers, 0.0)
        if method.controller == "static":
            return uniform_ratios(layers, _static_ratio(self._manifest))
        if method.controller == "surgeon":
            return surgeon_ratios(self._importance(images, feeds), elements_per_sample(self._manifest))
        raise BundleError(f"manifest.json: the controller {method.controller!r} is unknown here: update toolchain")

    def _importance(self, images: np.ndarray, feeds: Feeds) -> np.ndarray:
        """grad_rms float32 [L], of the previous step or of a probe."""
        if self._settings.importance == "previous" and self._last_grad_rms is not None:
            return self._last_grad_rms
        probe = self._manifest.method.probe
        chosen = self._random.permutation(len(images))[: probe.samples]
        work = probe_work(self._manifest, self._step.facts, len(chosen))
        ratios = self._fit(work, uniform_ratios(len(self._manifest.layers), probe.prune_ratio))
        fed = {role: np.ascontiguousarray(array[chosen]) for role, array in feeds.items()}
        result = self._step.probe(np.ascontiguousarray(images[chosen]), ratios, fed)
        if not result.is_finite:
            raise SkippedBatch(f"the loss or a gradient of the probe {_NOT_FINITE}", state_is_lost=True)
        return result.grad_rms

    def _fit(self, work: Work, ratios: np.ndarray) -> np.ndarray:
        budget = self._settings.budget
        fitted = ratios if budget is None else fit_ratios(work, ratios, budget)
        self._predicted = max(self._predicted, work.peak(fitted).bytes)
        return fitted

    def _describe(self, result: StepResult, ratios: np.ndarray, seconds: float) -> BatchResult:
        batch = len(result.logits)
        return BatchResult(
            loss=result.loss,
            predictions=[int(label) for label in result.logits.argmax(axis=1)],
            kept_bytes=kept_bytes(self._manifest, self._step.facts, batch, result.kept_elements.tolist()),
            dense_bytes=self._manifest.dense_bytes(batch),
            predicted_peak_bytes=self._predicted,
            prune_ratios=[float(ratio) for ratio in ratios],
            seconds=seconds,
            selected=result.selected if self._manifest.method.train != "none" else 0,
        )


def settings_from(options: Any, manifest: Manifest) -> Settings:
    """Settings from the command line and, where it is silent, the manifest. Raises UsageError, InputError."""
    return Settings(
        prune_ratios=_chosen_ratios(options.prune_ratio, manifest),
        importance=options.importance,
        budget=manifest.memory_budget if options.budget is None else options.budget,
        learning_rate=manifest.method.learning_rate if options.learning_rate is None else options.learning_rate,
        seed=options.seed,
    )


def _chosen_ratios(text: str, manifest: Manifest) -> Optional[np.ndarray]:
    if text != "auto" and manifest.layers and not manifest.step.inputs_of("prune_ratios"):
        raise UsageError(f"--prune-ratio: the method {manifest.method.name} itself decides what its layers keep")
    return parse_ratios(text, len(manifest.layers))


def parse_ratios(text: str, layers: int) -> Optional[np.ndarray]:
    """Ratios float32 [L] of `--prune-ratio`: "auto" is None; one number; a .npy file with one number a layer."""
    if text == "auto":
        return None
    if text.endswith(".npy"):
        return _read_ratios(Path(text), layers)
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise UsageError(f"--prune-ratio {text}: write auto, a number from 0 to 1, or a .npy file of {layers} such")
    return uniform_ratios(layers, ratio)


def elements_per_sample(manifest: Manifest) -> np.ndarray:
    """int64 [L]."""
    return np.array([layer.elements_per_sample for layer in manifest.layers], dtype=np.int64)


def _static_ratio(manifest: Manifest) -> float:
    method = manifest.method
    return method.probe.prune_ratio if method.prune_ratio is None else method.prune_ratio


def _read_ratios(path: Path, layers: int) -> np.ndarray:
    try:
        ratios = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--prune-ratio {path} cannot be read ({error}): write it with numpy.save") from error
    if ratios.shape != (layers,) or ratios.dtype.kind != "f" or not ((ratios >= 0) & (ratios <= 1)).all():
        found = f"{ratios.dtype} {list(ratios.shape)}"
        raise InputError(f"--prune-ratio {path} holds {found}: expected float32 [{layers}], each from 0 to 1")
    return ratios.astype(np.float32)  # type: ignore[no-any-return]


def summary(facts: BatchResult) -> Dict[str, Any]:
    """The fields of a batch's JSON object, without its number."""
    return dict(vars(facts))
