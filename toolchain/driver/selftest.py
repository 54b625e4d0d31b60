"""`selftest`: does this device compute what the bundle recorded when it was built? Touches no saved state."""

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

import numpy as np

from toolchain import __version__
from toolchain.driver.bundle import Bundle
from toolchain.driver.infer import open_session
from toolchain.driver.output import emit
from toolchain.driver.session_onnxruntime import VERSION
from toolchain.driver.step import REPORTED, Step, available_forms, shipped_tensors
from toolchain.errors import BundleError

# Distance of the update, as a vector, from the recorded one: 0 is equal, 1 is what no update at all gives. Rounding
# alone turns single elements around: Adam's first step is the learning rate times the sign of a gradient near zero.
UPDATE_LIMIT = 0.5


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    measured: float
    limit: float


def run(path: Path, options: Any) -> int:
    """Print every check; 1 if one fails. Where a file was altered, nothing is run."""
    bundle = Bundle(path)
    checks = [_check(f"file {name}", float(altered), 0.0) for name, altered in bundle.altered_files()]
    if all(check.passed for check in checks):
        checks += _check_numbers(bundle, options.threads)
    passed = all(check.passed for check in checks)
    emit(_result(checks, passed), _text(checks, passed), options.json)
    return 0 if passed else 1


def _check_numbers(bundle: Bundle, threads: Optional[int]) -> List[Check]:
    recorded = _read_reference(bundle.file(bundle.manifest.reference))
    limit = float(recorded["tolerance"])
    facts = bundle.manifest.infer
    checks = [
        check for form in available_forms(bundle.manifest) for check in _check_step(bundle, threads, form, recorded)
    ]
    logits = open_session(bundle, None, threads).run(facts.input, recorded["images"], facts.output)
    return [*checks, _compare("infer_logits", logits, recorded["infer_logits"], limit)]


def _check_step(bundle: Bundle, threads: Optional[int], form: str, recorded: Mapping[str, np.ndarray]) -> List[Check]:
    limit = float(recorded["tolerance"])
    step = Step(bundle, threads, form)
    result = step.run(recorded["images"], recorded["prune_ratios"], float(recorded["learning_rate"][0]))
    checks = [_compare(name, np.asarray(getattr(result, name)), recorded[name], limit) for name in REPORTED]
    checks += _check_updates(step.state, shipped_tensors(bundle), recorded, limit)
    return [replace(check, name=f"{form}: {check.name}") for check in checks]


def _check_updates(
    state: Mapping[str, np.ndarray], shipped: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray], limit: float
) -> Iterator[Check]:
    """Each recorded parameter after the step, and the direction in which it moved."""
    for key in recorded:
        folder, _, name = key.partition("/")
        if folder == "updated":
            yield _compare(key, state[name], recorded[key], limit)
            moved, expected = state[name] - shipped[name], recorded[key] - shipped[name]
            distance = float(np.linalg.norm(moved - expected))
            yield _check(f"direction/{name}", _relative(distance, float(np.linalg.norm(expected))), UPDATE_LIMIT)


def _compare(name: str, found: np.ndarray, expected: np.ndarray, limit: float) -> Check:
    """Largest difference, relative to the largest expected magnitude; integers have to be equal."""
    difference = np.abs(found.astype(np.float64).reshape(-1) - expected.astype(np.float64).reshape(-1)).max(initial=0.0)
    scale = np.abs(expected.astype(np.float64)).max(initial=0.0)
    return _check(name, _relative(float(difference), float(scale)), 0.0 if expected.dtype.kind == "i" else limit)


def _check(name: str, measured: float, limit: float) -> Check:
    """NaN never passes, and is reported as the largest number, because JSON has neither NaN nor Inf."""
    finite = min(measured, float(np.finfo(np.float64).max)) if measured == measured else float(np.finfo(np.float64).max)
    return Check(name, measured <= limit, finite, limit)


def _relative(difference: float, scale: float) -> float:
    return difference / scale if scale else difference


def _read_reference(path: Path) -> Dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path} cannot be read ({error}): build the bundle again") from error


def _result(checks: List[Check], passed: bool) -> Dict[str, Any]:
    versions = {
        "toolchain": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": VERSION,
    }
    listed = [vars(check) for check in checks]
    return {"passed": passed, "checks": listed, "versions": versions, "platform": platform.platform()}


def _text(checks: List[Check], passed: bool) -> str:
    shown = [check for check in checks if not (check.passed and check.name.startswith("file "))]
    lines = [f"{'pass' if c.passed else 'FAIL'}  {c.name}  {c.measured:.3g} (limit {c.limit:.3g})" for c in shown]
    failed = sum(not check.passed for check in checks)
    return "\n".join([*lines, "passed" if passed else f"failed: {failed} of {len(checks)} checks"])
