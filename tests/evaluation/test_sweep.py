"""What a sweep asks for, and that nothing of it is computed twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from toolchain.errors import ModelError, UsageError
from toolchain.evaluation.sweep.campaign import carry_out
from toolchain.evaluation.sweep.config import read_trials
from toolchain.evaluation.sweep.trial import Trial, build_bundle
from toolchain.evaluation.sweep.workers import Done, Work, work_here

CONFIG = """
[shown]
data = "photographs.npz"
images = 8
order = "{order}"
corruptions = ["fog", "contrast"]

[settings]
threads = 2

[[models]]
name = "cifar_resnet20"

[[models]]
name = "cifar_resnet56"
weights = "resnet56.th"

[[methods]]
name = "surgeon"
label = "SURGEON (BN)"
build = {{ train = "bn" }}
learning_rate = 1e-3
prune_ratios = [0.5, "auto"]

[[methods]]
name = "tent"

[sweep]
seeds = [0, 1]
"""


def write(folder: Path, order: str = "continual", more: str = "") -> list[Trial]:
    (folder / "photographs.npz").write_bytes(b"images")
    (folder / "resnet56.th").write_bytes(b"weights")
    (folder / "sweep.toml").write_text(CONFIG.format(order=order) + more)
    return read_trials(folder / "sweep.toml")


class Recorder:
    """Workers that write empty results, and know what they were asked for."""

    def __init__(self, failing: str = "nobody") -> None:
        self.asked: list[str] = []
        self.failing = failing

    def __call__(self, work: Work, trials: Sequence[Trial], folder: Path) -> Iterator[Done]:
        for trial in trials:
            self.asked.append(f"{work.__name__} {trial.build['method']}")
            if trial.label == self.failing:
                yield Done(trial, "not today")
                continue
            made = trial.bundle(folder) if work is build_bundle else trial.result(folder)
            made.parent.mkdir(parents=True, exist_ok=True)
            made.mkdir(exist_ok=True) if work is build_bundle else made.write_text("{}")
            yield Done(trial, None)


def test_every_model_meets_every_method_seed_and_ratio(tmp_path: Path) -> None:
    trials = write(tmp_path)
    assert len(trials) == 2 * (2 * 2 + 2) == len({trial.name for trial in trials})
    assert len({trial.bundle_name for trial in trials}) == 4, "seeds and ratios share a bundle"
    first, last = trials[0], trials[-1]
    assert first.build == {"target": "host", "model": "cifar_resnet20", "method": "surgeon", "train": "bn"}
    assert (first.label, first.settings.learning_rate, first.settings.prune_ratio) == ("SURGEON (BN)", 1e-3, "0.5")
    assert last.build["weights"] == str(tmp_path / "resnet56.th")
    assert (last.settings.seed, last.settings.threads, last.settings.prune_ratio) == (1, 2, "auto")
    assert last.shown.corruptions == ("fog", "contrast")


def test_corruptions_that_do_not_depend_on_each_other_are_trials(tmp_path: Path) -> None:
    trials = write(tmp_path, order="reset")
    assert len(trials) == 2 * 2 * (2 * 2 + 2)
    assert {trial.shown.corruptions for trial in trials} == {("fog",), ("contrast",)}


def test_other_data_or_weights_are_another_trial(tmp_path: Path) -> None:
    before = {trial.name for trial in write(tmp_path)}
    assert before == {trial.name for trial in read_trials(tmp_path / "sweep.toml")}
    (tmp_path / "resnet56.th").write_bytes(b"other weights")
    after = {trial.name for trial in read_trials(tmp_path / "sweep.toml")}
    assert len(before & after) == len(before) // 2
    (tmp_path / "photographs.npz").write_bytes(b"other images")
    assert not before & {trial.name for trial in read_trials(tmp_path / "sweep.toml")}


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    trials, workers = write(tmp_path), Recorder()
    campaign = carry_out([*trials, *trials], tmp_path / "out", workers)
    assert campaign.computed == len(trials) == len(campaign.finished) and not campaign.failed
    assert len(workers.asked) == len(trials) + 4
    assert carry_out(trials, tmp_path / "out", workers).computed == 0 and len(workers.asked) == len(trials) + 4
    trials[3].result(tmp_path / "out").unlink()
    assert carry_out(trials, tmp_path / "out", workers).computed == 1
    assert workers.asked[len(trials) + 4] == "build_bundle surgeon", "asked for, and found to be there"


@pytest.mark.parametrize("failing", ["tent"])
def test_what_fails_does_not_stop_the_others(tmp_path: Path, failing: str) -> None:
    trials = write(tmp_path)
    campaign = carry_out(trials, tmp_path / "out", Recorder(failing))
    assert campaign.computed == sum(trial.label != failing for trial in trials) == len(campaign.finished)
    assert campaign.failed and set(campaign.failed.values()) == {"not today"}


def test_errors_are_words(tmp_path: Path) -> None:
    def work(trial: Trial, folder: Path) -> None:
        raise ModelError("no such model")

    trial = write(tmp_path)[0]
    assert list(work_here(work, [trial], tmp_path)) == [Done(trial, "no such model")]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[swep]", r"has swep: known are shown"),
        ("speed = 3", r"\[sweep\] has speed"),
        ("[[methods]]\nlabel = 'x'", "lacks 'name'"),
        ("[[methods]]\nname = 'tent'\nspeed = 3", "unexpected keyword argument 'speed'"),
        ("= 3", "cannot be read as TOML"),
    ],
)
def test_wrong_files_are_refused_in_words(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write(tmp_path, more=more)
