"""What a sweep asks for, and that nothing of it is computed twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.errors import ModelError, UsageError
from toolchain.evaluation.sweep.campaign import carry_out
from toolchain.evaluation.sweep.config import read_trials
from toolchain.evaluation.sweep.trial import Trial, build_bundle, read_result, run_trial
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
            made.mkdir(exist_ok=True) if work is build_bundle else made.write_text('{"rows": []}')
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
    assert campaign.computed == len(trials) == len(campaign.results) and not campaign.failed
    assert len(workers.asked) == len(trials) + 4
    assert carry_out(trials, tmp_path / "out", workers).computed == 0 and len(workers.asked) == len(trials) + 4
    trials[3].result(tmp_path / "out").write_text('{"rows"')
    assert carry_out(trials, tmp_path / "out", workers).computed == 1
    assert workers.asked[len(trials) + 4] == "build_bundle surgeon", "asked for, and found to be there"


def test_what_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    trials = write(tmp_path)
    campaign = carry_out(trials, tmp_path / "out", Recorder("tent"))
    assert campaign.computed == sum(trial.label != "tent" for trial in trials) == len(campaign.results)
    assert campaign.failed == {trial.name: "not today" for trial in trials if trial.label == "tent"}


@pytest.mark.parametrize(
    ("error", "words"),
    [(ModelError("no such model"), "no such model"), (KeyError("x"), "KeyError: 'x'"), (OSError("x"), "OSError: x")],
)
def test_errors_are_words(tmp_path: Path, error: Exception, words: str) -> None:
    def work(trial: Trial, folder: Path) -> None:
        raise error

    trial = write(tmp_path)[0]
    assert list(work_here(work, [trial], tmp_path)) == [Done(trial, words)]


def test_result_of_data_that_changes_meanwhile_is_not_that_of_the_new_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: object) -> dict[str, list[str]]:
        (tmp_path / "photographs.npz").write_bytes(b"other images")
        return {"rows": []}

    monkeypatch.setattr("toolchain.evaluation.sweep.trial.evaluate", evaluate)
    before = write(tmp_path)[0]
    run_trial(before, tmp_path)
    after = read_trials(tmp_path / "sweep.toml")[0]
    assert read_result(before, tmp_path) is not None and read_result(after, tmp_path) is None


def test_other_files_in_a_folder_are_other_data(tmp_path: Path) -> None:
    folder = tmp_path / "corrupted"
    folder.mkdir()
    (folder / "fog.npy").write_bytes(b"fog")
    trial = write(tmp_path)[0]
    names = []
    for content in (b"fog", b"rain"):
        (folder / "fog.npy").write_bytes(content)
        names.append(replace(trial, shown=replace(trial.shown, data=folder)).name)
    assert names[0] != names[1]


def test_failed_evaluation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.evaluation.sweep.trial.evaluate", lambda *_: {"rows": object()})
    trial = write(tmp_path)[0]
    with pytest.raises(TypeError):
        run_trial(trial, tmp_path)
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[swep]", r"has swep: known are shown"),
        ("speed = 3", r"\[sweep\] has speed"),
        ("[[methods]]\nlabel = 'x'", "lacks 'name'"),
        ("[[methods]]\nname = 'sar'\nspeed = 3", r"\[\[methods\]\] has speed: known are name, label"),
        ("[[methods]]\nname = 'sar'\nprune_ratio = 0.9", r"has prune_ratio: known are .*prune_ratios"),
        (
            "[[methods]]\nname = 'sar'\nprune_ratios = 0.9",
            r"prune_ratios = 0.9: write a list, as prune_ratios = \[0.9\]",
        ),
        ("[[methods]]\nname = 'sar'\nprune_ratios = [1.5]", "prune ratio 1.5: choose auto, or a number from 0 to 1"),
        ("[[methods]]\nname = 'sar'\nbuild = { trian = 'bn' }", "build has trian: known are"),
        ("[[methods]]\nname = 'sar'\nbuild = { train = 'all' }", "method sar cannot train 'all'"),
        ("[[methods]]\nname = 'sar'\nbuild = { batch = '8' }", "--batch = '8': choose a whole number from 1"),
        ("[[methods]]\nname = 'sar'\nbuild = { source = 'lost.npz' }", "lost.npz is not there"),
        ("[[methods]]\nname = 'sar'\nthreads = 0", "threads = 0: choose a whole number from 1"),
        ("[[methods]]\nname = 'sar'\nlearning_rate = -1", "learning_rate = -1: choose a number from 0"),
        ("[[methods]]\nname = 'sar'\npython = 'no-such-python'", "no program that can be started"),
        ("[[methods]]\nname = 'rsa'", "unknown method 'rsa'"),
        ("[[methods]]\nname = 'tent'", "are called .*: give each a `label` of its own"),
        ("= 3", "cannot be read as TOML"),
    ],
)
def test_wrong_files_are_refused_in_words(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write(tmp_path, more=more)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = [0, 1]", "seeds = []", "seeds is empty"),
        ("seeds = [0, 1]", "seeds = [-1]", "seed = -1: choose a whole number from 0"),
        ("images = 8", "images = -3", "images = -3: choose a whole number from 1"),
        ("images = 8", 'images = "8"', "images = '8': choose a whole number from 1"),
        ("images = 8", "rounds = 0", "rounds = 0: choose a whole number from 1"),
        ("images = 8", "imges = 8", r"\[shown\] has imges: known are data, corruptions"),
        ('corruptions = ["fog", "contrast"]', 'corruptions = "fog"', r"write a list, as corruptions = \['fog'\]"),
        ('"photographs.npz"', '"lost.npz"', "lost.npz is not there"),
        ('build = { train = "bn" }', 'build = "bn"', "build = 'bn': write a table"),
    ],
)
def test_wrong_values_are_refused_in_words(tmp_path: Path, old: str, new: str, words: str) -> None:
    write(tmp_path)
    text = (tmp_path / "sweep.toml").read_text()
    assert old in text
    (tmp_path / "sweep.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=words):
        read_trials(tmp_path / "sweep.toml")
