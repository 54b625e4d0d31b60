"""How a bundle is evaluated, apart from the images."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.evaluation.contestants.twin import EagerTwin


@dataclass(frozen=True)
class Settings:
    """What the driver's `adapt` is told. eager: the twin sees the same batches. python: what runs the bundle."""

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
        return EagerTwin(case, Told(self.prune_ratio, self.importance, self.learning_rate, self.seed))
