"""The plan of a bundle's engine: built on this device when it is first needed, found again afterwards."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Dict

from toolchain import __version__
from toolchain.driver.engine.cache import PlanCache, user_cache
from toolchain.driver.engine.session_tensorrt import VERSION, BuildSettings, build_plan
from toolchain.driver.inference import InferenceModel
from toolchain.driver.output import progress


class PlanStore:
    """For one model on one device. folder: of the adapted state; where it is read-only, the user's cache is used."""

    def __init__(self, model: InferenceModel, device: str, folder: Path, precision: str) -> None:
        """Finds the plan, or builds it. Raises EngineError."""
        self._model = model
        self._settings = BuildSettings(precision, model.max_batch)
        self._machine = {"tensorrt": VERSION, "device": device}
        self._cache = PlanCache(folder / "engine", user_cache(folder.name))
        self._kind = f"plan-{precision}"
        self.plan = self._cache.load(self._kind, self._facts()) or b""
        if not self.plan:
            self.build()

    def build(self) -> None:
        """Takes minutes on a board. Raises EngineError."""
        progress("building the TensorRT engine of this device, once")
        timing = self._cache.load("timings", self._machine) or b""
        self.plan, timing = build_plan(self._model.content, self._settings, timing)
        self._cache.save("timings", self._machine, timing)
        self._cache.save(self._kind, self._facts(), self.plan)
        progress("")

    def _facts(self) -> Dict[str, Any]:
        digest = hashlib.sha256(self._model.content).hexdigest()
        return {**self._machine, **dataclasses.asdict(self._settings), "model": digest, "toolchain": __version__}
