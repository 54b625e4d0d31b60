"""`selftest`: does this device compute what the bundle recorded when it was built? Touches no saved state."""

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

import numpy as np

from toolchain import __version__
from toolchain.driver.board import describe_board
from toolchain.driver.bundle import Bundle
from toolchain.driver.checks import Check, check, compare, relative
from toolchain.driver.engine.checks import EngineReport, check_engine
from toolchain.driver.infer import open_session
from toolchain.driver.output import emit
from toolchain.driver.persistent import shipped_tensors
from toolchain.driver.predictor import choice_from
from toolchain.driver.recorded import read_reference, run_recorded
from toolchain.driver.session_onnxruntime import VERSION
from toolchain.driver.step import REPORTED, Step, available_forms
from toolchain.errors import UsageError

# Distance of the update, as a vector, from the recorded one: 0 is equal, 1 is what no update at all gives. Rounding
# alone turns single elements around: Adam's first step is the learning rate times the sign of a gradient near zero.
UPDATE_LIMIT = 0.5


def run(path: Path, options: Any) -> int:
    """Print every check; 1 if one fails. Where a file was altered, nothing is run."""
    bundle = Bundle(path)
    checks = [check(f"file {name}", float(altered), 0.0) for name, altered in bundle.altered_files()]
    engine = EngineReport()
    if all(check.passed for check in checks):
        recorded = read_reference(bundle.file(bundle.manifest.reference))
        checks += _check_numbers(bundle, options.threads, recorded)
        engine = check_engine(bundle, choice_from(options, bundle), recorded)
    result = _result([*checks, *engine.checks], engine, bundle)
    if options.report is not None:
        _write(options.report, result)
    emit(result, _text([*checks, *engine.checks], engine), options.json)
    return 0 if result["passed"] else 1


def _check_numbers(bundle: Bundle, threads: Optional[int], recorded: Mapping[str, np.ndarray]) -> List[Check]:
    facts = bundle.manifest.infer
    checks = [
        check for form in available_forms(bundle.manifest) for check in _check_step(bundle, threads, form, recorded)
    ]
    logits = open_session(bundle, None, threads).run(facts.input, recorded["images"], facts.output)
    return [*checks, compare("infer_logits", logits, recorded["infer_logits"], float(recorded["tolerance"]))]


def _check_step(bundle: Bundle, threads: Optional[int], form: str, recorded: Mapping[str, np.ndarray]) -> List[Check]:
    limit = float(recorded["tolerance"])
    step = Step(bundle, threads, form)
    result = run_recorded(step, recorded)
    checks = [compare(name, np.asarray(getattr(result, name)), recorded[name], limit) for name in REPORTED]
    checks += _check_updates(step.tensors, shipped_tensors(bundle), recorded, limit)
    return [replace(check, name=f"{form}: {check.name}") for check in checks]


def _check_updates(
    state: Mapping[str, np.ndarray], shipped: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray], limit: float
) -> Iterator[Check]:
    """Each recorded parameter after the step, and the direction in which it moved."""
    for key in recorded:
        folder, _, name = key.partition("/")
        if folder == "updated":
            yield compare(key, state[name], recorded[key], limit)
            moved, expected = state[name] - shipped[name], recorded[key] - shipped[name]
            distance = float(np.linalg.norm(moved - expected))
            yield check(f"direction/{name}", relative(distance, float(np.linalg.norm(expected))), UPDATE_LIMIT)


def _result(checks: List[Check], engine: EngineReport, bundle: Bundle) -> Dict[str, Any]:
    versions = {
        "toolchain": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": VERSION,
    }
    facts = bundle.manifest
    return {
        "passed": all(check.passed for check in checks),
        "checks": [vars(check) for check in checks],
        "versions": {**versions, **engine.versions},
        "platform": platform.platform(),
        "board": describe_board(),
        "bundle": {"model": facts.model.name, "method": facts.method.name, "target": facts.target.get("name")},
        "engine_error": engine.error,
        "measured": engine.measured,
    }


def _write(path: Path, result: Dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--report {path} cannot be written ({error.strerror}): choose another file") from error


def _text(checks: List[Check], engine: EngineReport) -> str:
    shown = [check for check in checks if not (check.passed and check.name.startswith("file "))]
    lines = [f"{'pass' if c.passed else 'FAIL'}  {c.name}  {c.measured:.3g} (limit {c.limit:.3g})" for c in shown]
    failed = sum(not check.passed for check in checks)
    verdict = "passed" if not failed else f"failed: {failed} of {len(checks)} checks"
    return "\n".join([*lines, *engine.in_words(), verdict])
