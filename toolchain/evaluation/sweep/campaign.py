"""What a sweep still has to do, done once: first the bundles, then the trials."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.evaluation.sweep.trial import Trial, build_bundle, read_result, run_trial
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
    def results(self) -> list[dict[str, Any]]:
        """Of the trials that are done, in their order."""
        return [found for trial in self.trials if (found := read_result(trial, self.folder)) is not None]

    @property
    def missing(self) -> list[Trial]:
        return [trial for trial in self.trials if read_result(trial, self.folder) is None]


def carry_out(
    trials: Iterable[Trial], folder: Path, workers: Workers, announce: Announce = lambda text: None
) -> Campaign:
    """folder: the results of earlier runs lie there and are kept; all workers have to see it."""
    campaign = Campaign(list({trial.name: trial for trial in trials}.values()), folder.resolve())
    missing = campaign.missing
    builds = {trial.bundle_name: trial for trial in missing}
    errors = _do(campaign, build_bundle, list(builds.values()), workers, announce, "built")
    unbuilt = {trial.bundle_name: error for trial, error in errors}
    campaign.failed = {one.name: unbuilt[one.bundle_name] for one in missing if one.bundle_name in unbuilt}
    ready = [trial for trial in missing if trial.name not in campaign.failed]
    errors = _do(campaign, run_trial, ready, workers, announce, "evaluated")
    campaign.failed.update({trial.name: error for trial, error in errors})
    campaign.computed = len(ready) - len(errors)
    return campaign


def _do(
    campaign: Campaign, work: Work, trials: Sequence[Trial], workers: Workers, announce: Announce, done: str
) -> list[tuple[Trial, str]]:
    """Returns what failed, and why."""
    failures = []
    for number, (trial, error) in enumerate(workers(work, trials, campaign.folder), 1):
        announce(f"{number} of {len(trials)} {done}: {trial.name}")
        if error is not None:
            failures.append((trial, error))
    return failures
