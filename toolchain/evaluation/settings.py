"""How a bundle is evaluated, apart from the images."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import UsageError
from toolchain.values import require_count, require_number, require_one_of

if TYPE_CHECKING:
    from toolchain.evaluation.contestants.twin import EagerTwin


def _is_ratio(text: str) -> bool:
    try:
        return text == "auto" or 0 <= float(text) <= 1
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """What the driver's `adapt` is told. eager: the twin sees the same batches. python: what runs the bundle.

    Raises UsageError.
    """

    prune_ratio: str = "auto"
    importance: str = "probe"
    budget: int | None = None
    learning_rate: float | None = None
    operators: str = "auto"
    threads: int = 1
    seed: int = 0
    eager: bool = False
    python: str = sys.executable

    def __post_init__(self) -> None:
        require_count("threads", self.threads)
        require_count("seed", self.seed, least=0)
        require_number("learning_rate", self.learning_rate)
        require_one_of("importance", self.importance, ("probe", "previous"))
        require_one_of("operators", self.operators, ("auto", "native", "portable"))
        if shutil.which(self.python) is None:
            raise UsageError(f"python = {self.python!r}: no program that can be started")
        if not _is_ratio(self.prune_ratio):
            raise UsageError(f"prune ratio {self.prune_ratio}: choose auto, or a number from 0 to 1")
        if self.eager and self.budget is not None:
            raise UsageError("--against eager does not go with --budget: the twin knows none")

    def driver_arguments(self) -> list[str]:
        names = ("prune_ratio", "importance", "budget", "learning_rate", "operators", "threads", "seed")
        given = {name: getattr(self, name) for name in names}
        return [
            word
            for name, value in given.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    def twin(self, bundle: Path) -> "EagerTwin":
        """Loads torch."""
        import torch

        from toolchain.evaluation.contestants.twin import EagerTwin, Told
        from toolchain.verification.case import Case

        torch.set_num_threads(self.threads)
        case = Case.load(bundle, samples=1, count=1)
        if case.manifest.memory_budget is not None:
            raise UsageError(f"--against eager: {bundle} was built with --memory-budget, and the twin knows none")
        return EagerTwin(case, Told(self.prune_ratio, self.importance, self.learning_rate, self.seed))
