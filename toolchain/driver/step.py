"""One adaptation step: the tensors that live from batch to batch, and the graph that updates them in place."""

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional

import numpy as np

from toolchain.driver.bundle import PARAMETERS, Bundle
from toolchain.driver.manifest import StepFacts, TensorFacts
from toolchain.driver.session_onnxruntime import StepSession
from toolchain.driver.tensors import read_tensors
from toolchain.errors import BundleError

SHIPPED = ("parameter", "frozen", "statistic")
ZEROED = ("moment", "counter")
PER_RUN = ("images", "prune_ratios", "learning_rate")
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

    def __init__(self, bundle: Bundle, threads: Optional[int] = None) -> None:
        """Raises BundleError."""
        self._bundle = bundle
        self._facts = bundle.manifest.step
        self._tensors = shipped_tensors(bundle)
        self._session = StepSession(bundle.file(self._facts.file), threads)

    @property
    def state(self) -> Dict[str, np.ndarray]:
        """What adaptation changes, by input name: the arrays themselves, which every `run` overwrites."""
        return {name: self._tensors[name] for name in self._facts.updates().values()}

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
        placed = {output: self._tensors[name] for output, name in self._facts.updates().items()}
        return self._run(images, ratios, learning_rate, placed)

    def probe(self, images: np.ndarray, ratios: np.ndarray) -> StepResult:
        """The same without an update.

        The graph computes the updated tensors all the same; they overwrite each other in one scratch buffer, so that a
        probe does not allocate a second copy of the state.
        """
        state = self.state
        scratch = np.empty(max((array.nbytes for array in state.values()), default=0), np.uint8)
        updates = self._facts.updates().items()
        return self._run(images, ratios, 0.0, {output: _view(scratch, state[name]) for output, name in updates})

    def _run(
        self, images: np.ndarray, ratios: np.ndarray, learning_rate: float, placed: Mapping[str, np.ndarray]
    ) -> StepResult:
        rate = self._facts.input("learning_rate")
        rates = np.full([int(length) for length in rate.shape], learning_rate, np.float32)
        fed = dict(zip((self._facts.input(role).name for role in PER_RUN), (images, ratios, rates)))
        names = [self._facts.output(role).name for role in REPORTED]
        found = self._session.run({**self._tensors, **fed}, placed, names)
        logits, loss, grad_rms, kept = (found[name] for name in names)
        return StepResult(logits, float(loss.reshape(-1)[0]), grad_rms, kept)


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
    unknown = {tensor.role for tensor in facts.inputs} - {*SHIPPED, *ZEROED, *PER_RUN}
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
