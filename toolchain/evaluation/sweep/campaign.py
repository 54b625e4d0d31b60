"""What a sweep still has to do, done once: first the bundles, then the trials."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.evaluation.sweep.trial import Trial, build_bundle, run_trial
from toolchain.evaluation.sweep.workers import Work, Workers

Announce = Callable[[str], None]


@dataclass
class Campaign:
    """trials: without repetition. computed: how many were done this time. failed: by trial, in words."""

    trials: Sequence[Trial]
    folder: Path
    computed: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.result(self.folder).is_file()]

    @property
    def missing(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.result(self.folder).is_file()]


def carry_out(
    trials: Iterable[Trial], folder: Path, workers: Workers, announce: Announce = lambda text: None
) -> Campaign:
    """folder: the results of earlier runs lie there and are kept; all workers have to see it."""
    campaign = Campaign(list({trial.name: trial for trial in trials}.values()), folder.resolve())
    builds = {trial.bundle_name: trial for trial in campaign.missing}
    _do(campaign, build_bundle, list(builds.values()), workers, announce, "built")
    ready = [trial for trial in campaign.missing if trial.bundle(campaign.folder).is_dir()]
    campaign.computed = len(ready) - _do(campaign, run_trial, ready, workers, announce, "evaluated")
    return campaign


def _do(
    campaign: Campaign, work: Work, trials: Sequence[Trial], workers: Workers, announce: Announce, done: str
) -> int:
    """Returns how many failed."""
    failures = 0
    for number, (trial, error) in enumerate(workers(work, trials, campaign.folder), 1):
        announce(f"{number} of {len(trials)} {done}: {trial.name}")
        if error is not None:
            campaign.failed[trial.name] = error
            failures += 1
    return failures
