"""One evaluation, from a bundle and a place of images to a document of figures."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.corruptions import CORRUPTIONS
from toolchain.driver.bundle import Bundle
from toolchain.errors import UsageError
from toolchain.evaluation.data import Dataset, open_data
from toolchain.evaluation.orders import ORDERS, Plan, plan
from toolchain.evaluation.run import Announce, run, summary
from toolchain.evaluation.settings import Settings
from toolchain.measurement.circumstances import circumstances
from toolchain.values import require_count


@dataclass(frozen=True)
class Shown:
    """What is shown. data: see open_data. corruptions: None for those of the papers' 15 that are there.

    images: of each domain, None for all. order: one of ORDERS. batch: images a step, None for what the bundle was built
    for. Raises UsageError.
    """

    data: Path
    corruptions: tuple[str, ...] | None = None
    severity: int = 5
    order: str = "continual"
    rounds: int = 1
    batch: int | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        for name in ("rounds", "batch", "images"):
            require_count(name, getattr(self, name))
        if isinstance(self.corruptions, str) or self.corruptions == ():
            raise UsageError('corruptions: a list of names, as ["fog", "snow"], or leave it out for all')
        if self.order not in ORDERS:
            raise UsageError(f"order {self.order!r} is unknown: choose {', '.join(ORDERS)}")
        if self.severity not in range(1, 6):
            raise UsageError(f"there is no severity {self.severity}: choose 1 to 5")


def evaluate(bundle: Path, shown: Shown, settings: Settings, announce: Announce = lambda *_: None) -> dict[str, Any]:
    """The document that `evaluate --json` prints. Raises ToolchainError."""
    facts = Bundle(bundle).manifest
    dataset = open_data(shown.data, facts.model, shown.images, settings.seed)
    planned = make_plan(dataset, shown, shown.batch or facts.batch, settings.seed)
    record = run(bundle, planned, settings, announce)
    what = {"bundle": bundle.resolve().name, "data": shown.data.resolve().name, "model": facts.model.name}
    method = {name: getattr(facts.method, name) for name in ("setting", "train", "controller")}
    method = {"method": facts.method.name, "choices": facts.method.chosen, **method}
    chosen = {"order": shown.order, "rounds": shown.rounds, "batch": shown.batch or facts.batch}
    how = {name: value for name, value in asdict(settings).items() if name not in ("eager", "python")}
    figures = summary(record, planned, settings.eager)
    return {**what, **method, **chosen, **how, **figures, **circumstances(settings.python)}


def make_plan(dataset: Dataset, shown: Shown, batch: int, seed: int) -> Plan:
    papers = [name for name in dataset.corruptions if name in CORRUPTIONS]
    corruptions = shown.corruptions or papers or dataset.corruptions
    return plan(shown.order, dataset.domain, corruptions, shown.severity, shown.rounds, batch, seed)


def count_batches(bundle: Path, shown: Shown, seed: int = 0) -> int:
    """How often `announce` will be called."""
    facts = Bundle(bundle).manifest
    dataset = open_data(shown.data, facts.model, shown.images, seed)
    return make_plan(dataset, shown, shown.batch or facts.batch, seed).batches
