"""One adaptation step: the tensors that live from batch to batch, and the graph that updates them in place."""

import platform
import sys
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from toolchain.driver.bundle import PARAMETERS, Bundle
from toolchain.driver.manifest import Manifest, StepFacts, TensorFacts
from toolchain.driver.session_onnxruntime import StepSession
from toolchain.driver.tensors import read_tensors
from toolchain.errors import BundleError, UsageError

PLATFORM = f"{sys.platform}-{platform.machine()}"
AUTO, NATIVE, PORTABLE = "auto", "native", "portable"

SHIPPED = ("parameter", "frozen", "statistic")
ZEROED = ("moment", "counter")
PER_RUN = ("images", "prune_ratios", "learning_rate")
ACTIVE = "active"
REPORTED = ("logits", "loss", "grad_rms", "kept_elements")


@dataclass(frozen=True)
class StepResult:
    """logits float32 [N, C] before the update; grad_rms float32 [L]; kept_elements int64 [L]."""

    logits: np.ndarray
    loss: float
    grad_rms: np.ndarray
    kept_elements: np.ndarray

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.loss) and np.isfinite(self.grad_rms).all())


class Step:
    """The step of a bundle and all that it reads and updates, starting from what was shipped."""

    def __init__(self, bundle: Bundle, threads: Optional[int] = None, operators: str = AUTO) -> None:
        """operators: AUTO, NATIVE or PORTABLE. Raises BundleError, and UsageError for NATIVE where none fit."""
        self._bundle = bundle
        self._tensors = shipped_tensors(bundle)
        self.facts, self._session = _open(bundle, threads, operators)

    @property
    def state(self) -> Dict[str, np.ndarray]:
        """What adaptation changes, by input name: the arrays themselves, which every `run` overwrites."""
        return {name: self._tensors[name] for name in self.facts.updates().values()}

    @property
    def state_is_finite(self) -> bool:
        return all(bool(np.isfinite(array).all()) for array in self.state.values())

    def restore(self, saved: Optional[Mapping[str, np.ndarray]]) -> None:
        """Set the state to the saved arrays, or to what was shipped."""
        source = shipped_tensors(self._bundle) if saved is None else saved
        for name, array in self.state.items():
            np.copyto(array, source[name])

    def run(self, images: np.ndarray, ratios: np.ndarray, learning_rate: float) -> StepResult:
        """Predict, adapt, update the state. images: float32 [N, C, H, W]; ratios: float32 [L]."""
        placed = {output: self._tensors[name] for output, name in self.facts.updates().items()}
        return self._run(images, ratios, learning_rate, placed)

    def probe(self, images: np.ndarray, ratios: np.ndarray) -> StepResult:
        """The same without an update.

        Operators that work in place are told to leave parameters and moments alone. What the graph computes all the
        same is overwritten in one scratch buffer, so that a probe does not allocate a second copy of the state.
        """
        state = self.state
        spared = {tensor.name for tensor in self.facts.inputs_of("parameter", "moment")} if self._can_rest else set()
        computed = [array.nbytes for name, array in state.items() if name not in spared]
        scratch = np.empty(max(computed, default=0), np.uint8)
        placed = {
            output: state[name] if name in spared else _view(scratch, state[name])
            for output, name in self.facts.updates().items()
        }
        return self._run(images, ratios, 0.0, placed, active=False)

    @property
    def _can_rest(self) -> bool:
        return bool(self.facts.inputs_of(ACTIVE))

    def _run(
        self,
        images: np.ndarray,
        ratios: np.ndarray,
        learning_rate: float,
        placed: Mapping[str, np.ndarray],
        active: bool = True,
    ) -> StepResult:
        rate = self.facts.input("learning_rate")
        rates = np.full([int(length) for length in rate.shape], learning_rate, np.float32)
        fed = dict(zip((self.facts.input(role).name for role in PER_RUN), (images, ratios, rates)))
        fed.update({tensor.name: np.array([active], np.float32) for tensor in self.facts.inputs_of(ACTIVE)})
        names = [self.facts.output(role).name for role in REPORTED]
        found = self._session.run({**self._tensors, **fed}, placed, names)
        logits, loss, grad_rms, kept = (found[name] for name in names)
        return StepResult(logits, float(loss.reshape(-1)[0]), grad_rms, kept)


def _open(bundle: Bundle, threads: Optional[int], operators: str) -> Tuple[StepFacts, StepSession]:
    """The graph with native kernels where this platform has them, else the one in standard operators."""
    native, portable = bundle.manifest.native, bundle.manifest.step
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


def shipped_tensors(bundle: Bundle) -> Dict[str, np.ndarray]:
    """Every input of the step that lives from batch to batch, as the bundle was built. Raises BundleError."""
    path = bundle.file(PARAMETERS)
    try:
        shipped = read_tensors(path).tensors
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}): build the bundle again") from error
    inputs = _persistent_inputs(bundle.manifest.step)
    return {tensor.name: _initial(tensor, shipped) for tensor in inputs}


def _persistent_inputs(facts: StepFacts) -> List[TensorFacts]:
    unknown = {tensor.role for tensor in facts.inputs} - {*SHIPPED, *ZEROED, *PER_RUN, ACTIVE}
    if unknown:
        raise BundleError(f"manifest.json: input roles {', '.join(unknown)} are unknown here: update toolchain")
    return facts.inputs_of(*SHIPPED, *ZEROED)


def _initial(tensor: TensorFacts, shipped: Mapping[str, np.ndarray]) -> np.ndarray:
    if tensor.role in ZEROED:
        return np.zeros([int(length) for length in tensor.shape], tensor.dtype)
    array = shipped.get(tensor.name)
    if array is None or array.shape != tensor.shape or array.dtype != tensor.dtype:
        wanted = f"{tensor.name} {tensor.dtype} {list(tensor.shape)}"
        raise BundleError(f"{PARAMETERS} lacks {wanted}: build the bundle again")
    return array


def _view(scratch: np.ndarray, like: np.ndarray) -> np.ndarray:
    return scratch[: like.nbytes].view(like.dtype).reshape(like.shape)
