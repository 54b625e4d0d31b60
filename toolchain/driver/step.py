"""One adaptation step: the tensors that live from batch to batch, and the graph that updates them in place."""

import platform
import sys
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.manifest import Manifest, StepFacts
from toolchain.driver.persistent import PASSING, PER_BATCH, shipped_tensors, state_of
from toolchain.driver.session_onnxruntime import StepSession
from toolchain.errors import BundleError, UsageError

PLATFORM = f"{sys.platform}-{platform.machine()}"
AUTO, NATIVE, PORTABLE = "auto", "native", "portable"

REPORTED = ("logits", "loss", "grad_rms", "kept_elements")

Feeds = Mapping[str, np.ndarray]
"""Arrays of the roles PER_BATCH: [N], or [N, C] for targets."""


@dataclass(frozen=True)
class StepResult:
    """logits float32 [N, C] before the update; grad_rms float32 [L]; kept_elements int64 [L].

    sample_weights float32 [N]: of each sample in the entropy, where the method selects some.
    """

    logits: np.ndarray
    loss: float
    grad_rms: np.ndarray
    kept_elements: np.ndarray
    sample_weights: Optional[np.ndarray] = None

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.loss) and np.isfinite(self.grad_rms).all())

    @property
    def selected(self) -> int:
        """How many samples count."""
        weights = self.sample_weights
        return len(self.logits) if weights is None else int(np.count_nonzero(weights))


class Step:
    """The step of a bundle and all that it reads and updates, starting from what was shipped."""

    def __init__(self, bundle: Bundle, threads: Optional[int] = None, operators: str = AUTO) -> None:
        """operators: AUTO, NATIVE or PORTABLE. Raises BundleError, and UsageError for NATIVE where none fit."""
        facts = bundle.manifest
        self._bundle = bundle
        self.tensors = shipped_tensors(bundle)
        self.facts, self._session = _open(bundle, facts.step, facts.native, threads, operators)
        self.predict_facts: Optional[StepFacts] = None
        if facts.predict is not None:
            self.predict_facts, self._predictor = _open(bundle, facts.predict, facts.native_predict, threads, operators)

    @property
    def state(self) -> Dict[str, np.ndarray]:
        """What adaptation changes, by name: the arrays themselves, which every `run` overwrites."""
        return {tensor.name: self.tensors[tensor.name] for tensor in state_of(self._bundle.manifest)}

    @property
    def state_is_finite(self) -> bool:
        return all(bool(np.isfinite(array).all()) for array in self.state.values())

    def of(self, role: str) -> Dict[str, np.ndarray]:
        """The arrays of the step's inputs with this role, by name."""
        return {tensor.name: self.tensors[tensor.name] for tensor in self.facts.inputs_of(role)}

    def shipped(self, role: str) -> Dict[str, np.ndarray]:
        """What `of` gave at first."""
        shipped = shipped_tensors(self._bundle)
        return {name: shipped[name] for name in self.of(role)}

    def restore(self, saved: Optional[Mapping[str, np.ndarray]]) -> None:
        """Set the state to the saved arrays, or to what was shipped."""
        source = shipped_tensors(self._bundle) if saved is None else saved
        for name, array in self.state.items():
            np.copyto(array, source[name])

    def run(
        self,
        images: np.ndarray,
        ratios: np.ndarray,
        learning_rate: float,
        feeds: Optional[Feeds] = None,
        follow: Optional[bool] = None,
    ) -> StepResult:
        """Predict, adapt, update the state. images: float32 [N, C, H, W]; ratios: float32 [L].

        follow: whether running statistics follow this batch; None: where a sample is selected.
        """
        placed = {output: self.tensors[name] for output, name in self.facts.updates().items()}
        follows_at_once = not _selects(self.facts) if follow is None else follow
        fresh = {} if follows_at_once else {name: np.empty_like(array) for name, array in self.of("statistic").items()}
        placed.update({output: fresh[name] for output, name in self.facts.updates().items() if name in fresh})
        result = self._run(images, ratios, learning_rate, placed, feeds)
        if follow is None and result.selected:
            for name, array in fresh.items():
                np.copyto(self.tensors[name], array)
        return result

    def probe(self, images: np.ndarray, ratios: np.ndarray, feeds: Optional[Feeds] = None) -> StepResult:
        """The same without an update, and with every sample counting alike.

        Operators that work in place are told to leave parameters and moments alone. What the graph computes all the
        same is overwritten in one scratch buffer, so that a probe does not allocate a second copy of the state.
        """
        state = {name: self.tensors[name] for name in self.facts.updates().values()}
        spared = {tensor.name for tensor in self.facts.inputs_of(*SPARED)} if self._can_rest else set()
        computed = [array.nbytes for name, array in state.items() if name not in spared]
        scratch = np.empty(max(computed, default=0), np.uint8)
        placed = {
            output: state[name] if name in spared else _view(scratch, state[name])
            for output, name in self.facts.updates().items()
        }
        return self._run(images, ratios, 0.0, placed, feeds, active=False)

    def predict(self, images: np.ndarray, weights: Optional[Mapping[str, np.ndarray]] = None) -> np.ndarray:
        """Logits float32 [N, C] of a forward pass alone, with `weights` in place of parameters of the same name."""
        if self.predict_facts is None:
            raise BundleError("manifest.json names no graph that predicts: build the bundle again")
        names = {tensor.name for tensor in self.predict_facts.inputs} & set(self.tensors)
        fed = {name: self.tensors[name] for name in names}
        fed.update({name: array for name, array in (weights or {}).items() if name in names})
        fed["images"] = images
        return self._predictor.run(fed, {}, ["logits"])["logits"]

    @property
    def _can_rest(self) -> bool:
        return bool(self.facts.inputs_of("active"))

    def _run(
        self,
        images: np.ndarray,
        ratios: np.ndarray,
        learning_rate: float,
        placed: Mapping[str, np.ndarray],
        feeds: Optional[Feeds],
        active: bool = True,
    ) -> StepResult:
        fed = {
            "images": images,
            "prune_ratios": ratios,
            "learning_rate": np.array([learning_rate], np.float32),
            "active": np.array([active], np.float32),
            **default_feeds(self.facts, self._bundle.manifest.model.classes, len(images)),
            **(feeds or {}),
        }
        inputs = {i.name: fed[i.role] if i.role in PASSING else self.tensors[i.name] for i in self.facts.inputs}
        wanted = (*REPORTED, "sample_weights")
        names = {role: tensor.name for role in wanted for tensor in self.facts.outputs_of(role)}
        found = self._session.run(inputs, placed, list(names.values()))
        return StepResult(
            logits=found[names["logits"]],
            loss=float(found[names["loss"]].reshape(-1)[0]),
            grad_rms=found[names["grad_rms"]] if "grad_rms" in names else np.zeros(0, np.float32),
            kept_elements=found[names["kept_elements"]] if "kept_elements" in names else np.zeros(0, np.int64),
            sample_weights=found[names["sample_weights"]] if "sample_weights" in names else None,
        )


SPARED = ("parameter", "moment", "gradient")


def default_feeds(facts: StepFacts, classes: int, batch: int) -> Dict[str, np.ndarray]:
    """Of the roles PER_BATCH that the step has."""
    zeros = np.zeros((batch, classes), np.float32)
    defaults = {"sample_mask": np.ones(batch, np.float32), "targets": zeros, "log_targets": zeros}
    defaults["channel_keys"] = np.zeros(channels_of(facts), np.float32)
    return {tensor.role: defaults[tensor.role] for tensor in facts.inputs_of(*PER_BATCH)}


def example_feeds(facts: StepFacts, classes: int, batch: int, random: np.random.Generator) -> Dict[str, np.ndarray]:
    """Random probabilities as targets, for who wants to see a step at work."""
    logits = random.standard_normal((2, batch, classes))
    targets, others = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    drawn = {"targets": targets, "log_targets": np.log(others), "sample_mask": np.ones(batch)}
    drawn["channel_keys"] = random.random(channels_of(facts))
    return {tensor.role: drawn[tensor.role].astype(np.float32) for tensor in facts.inputs_of(*PER_BATCH)}


def channels_of(facts: StepFacts) -> int:
    """How many channels are chosen from in a step, of all layers."""
    return sum(int(tensor.shape[0]) for tensor in facts.inputs_of("channel_keys"))


def _selects(facts: StepFacts) -> bool:
    return bool(facts.outputs_of("sample_weights"))


def _open(
    bundle: Bundle, portable: StepFacts, native: Optional[StepFacts], threads: Optional[int], operators: str
) -> Tuple[StepFacts, StepSession]:
    """The graph with native kernels where this platform has them, else the one in standard operators."""
    library = None if native is None else native.kernels.get(PLATFORM)
    if operators == PORTABLE or (operators == AUTO and library is None):
        return portable, StepSession(bundle.file(portable.file), threads)
    if native is None or library is None:
        raise UsageError(f"{bundle.path} has no kernels for {PLATFORM}: use --operators portable")
    return native, StepSession(bundle.file(native.file), threads, bundle.file(library))


def available_forms(manifest: Manifest) -> Tuple[str, ...]:
    """The forms of the step that this machine can run."""
    native = manifest.native
    return (PORTABLE, NATIVE) if native is not None and PLATFORM in native.kernels else (PORTABLE,)


def _view(scratch: np.ndarray, like: np.ndarray) -> np.ndarray:
    return scratch[: like.nbytes].view(like.dtype).reshape(like.shape)
