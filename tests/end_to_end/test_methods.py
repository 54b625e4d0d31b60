"""Bundles of every method against their eager twins, on photographs, in batches of 8, 1 and 64."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.end_to_end.conftest import Build, Run
from toolchain.driver.adaptation import Adapter, Settings
from toolchain.driver.bundle import Bundle
from toolchain.driver.persistent import deployed
from toolchain.driver.state import open_state
from toolchain.driver.step import Step, StepResult
from toolchain.errors import ModelError, UsageError
from toolchain.methods.declaration import SGD, LayerRates, Method, Selection, Sharpness, Teacher, TwoViews
from toolchain.pipeline import Request, build
from toolchain.verification import verify
from toolchain.verification.case import Case
from toolchain.verification.updates import check_updates, compare, run_driver, run_twin

SAMPLE = np.load("tests/data/cifar10_sample.npz")


@dataclass(frozen=True)
class Entry:
    """A method as it is built; wrong: what its negative control has different."""

    method: str
    wrong: Mapping[str, object]
    chosen: Mapping[str, object] = field(default_factory=dict)
    sizes: tuple[int, ...] = (8, 1, 64)

    def __str__(self) -> str:
        return " ".join([self.method, *self.chosen])


UNWEIGHTED = {"selection": Selection(share=0.4, weighted=False, redundancy=0.4)}
ENTRIES = [
    Entry("source", {"statistics": "batch"}),
    Entry("bn", {"source_samples": 0}, {"source_samples": 16}),
    Entry("full", UNWEIGHTED),
    Entry("full", {"source_samples": 0}, {"source_samples": 16}),
    Entry("tent", {"source_samples": 0}, {"source_samples": 16, "values": "fp16"}),
    Entry("cotta", {"source_samples": 0}, {"source_samples": 4}, sizes=(8, 1, 8)),
    Entry("surgeon", {"source_samples": 0}, {"source_samples": 16, "consistency": True}),
    Entry("tent", UNWEIGHTED, {"prune": "static"}),
    Entry("eata", UNWEIGHTED, sizes=(16, 16, 64)),
    Entry("sar", {"beside": Sharpness(radius=0.5)}),
    Entry("cotta", {"beside": Teacher(decay=0.9, views=2)}, sizes=(8, 1, 8)),
    Entry("cotta", {"beside": Teacher(confidence=0.1, restore=0.001)}, {"setting": "imagenet"}, sizes=(8, 1, 8)),
    Entry("cotta", {"optimizer": SGD(0.01, nesterov=False)}, {"setting": "imagenet"}, sizes=(8, 1, 8)),
    Entry("law", {"beside": LayerRates(temperature=0.3, consistency=0.01)}),
    Entry("surgeon", UNWEIGHTED, {"selection": True}),
    Entry("surgeon", {"beside": TwoViews(consistency=0.03)}, {"consistency": True, "train": "bn"}),
    Entry("surgeon", {"beside": TwoViews(consistency=0.03)}, {"selection": True, "consistency": True, "train": "bn"}),
]


def photographs(count: int, start: int = 0, noise: float = 0.05) -> np.ndarray:
    """float32 [count, 3, 32, 32], noisy and normalised."""
    images = SAMPLE["images"][start : start + count].astype(np.float32) / 255
    noisy = images + np.random.default_rng(start).normal(0, noise, images.shape)
    normalised = (noisy - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)


DOUBTFUL = np.random.default_rng(4).standard_normal((2, 3, 32, 32), np.float32)
"""Images of which no model is sure."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.npz"
    np.savez(path, x_train=SAMPLE["images"][256:], y_train=SAMPLE["labels"][256:])
    return path


def bundle_of(built: Build, entry: Entry, source: Path) -> Path:
    needs = {"source": source} if entry.method == "eata" else {}
    return built("cifar_resnet20", method=entry.method, **entry.chosen, **needs)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_bundle_follows_its_twin(built: Build, source: Path, entry: Entry) -> None:
    case = Case.load(bundle_of(built, entry, source), 8, 1)
    starts = np.cumsum([0, *entry.sizes])
    batches = [photographs(size, int(start)) for size, start in zip(entry.sizes, starts, strict=False)]
    if case.method.selection is not None:
        batches.insert(1, DOUBTFUL)
    single, exact = (run_twin(case, batches, dtype) for dtype in (torch.float32, torch.float64))
    control = run_twin(replace(case, method=altered(case.method, entry.wrong)), batches, torch.float64)
    for form in case.forms:
        found = run_driver(case, batches, form)
        checks = list(compare(case, form, found, single, exact))
        assert all(check.passed for check in checks), "\n".join(map(str, checks))
        wrong = list(compare(case, form, found, control, control))
        apart = [after.measured > 2 * check.limit for check, after in zip(checks, wrong, strict=True)]
        assert any(apart), "\n".join(map(str, wrong))


def altered(method: Method, wrong: Mapping[str, object]) -> Method:
    return replace(method, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "entry", [i for i in ENTRIES if i.method in ("eata", "sar") or set(i.chosen) == {"selection"}], ids=str
)
@pytest.mark.parametrize("form", ["native", "portable"])
def test_batch_of_doubtful_samples_changes_nothing(built: Build, source: Path, entry: Entry, form: str) -> None:
    case = Case.load(bundle_of(built, entry, source), 8, 1)
    step = Step(case.bundle, operators=form)
    adapter = Adapter(case.manifest, step, Settings(None, "probe", None, 0.1, seed=0))
    assert adapter.adapt(photographs(16, noise=0.0)).selected > 0
    before = {name: array.copy() for name, array in step.state.items()}
    result = adapter.adapt(DOUBTFUL)
    assert result.selected == 0 and result.loss == 0
    assert all(np.array_equal(step.state[name], array) for name, array in before.items())
    assert adapter.adapt(photographs(16, 16, noise=0.0)).selected > 0
    assert not all(np.array_equal(step.state[name], array) for name, array in before.items())


@pytest.mark.parametrize("form", ["native", "portable"])
def test_anchor_pulls_by_its_strength_and_the_information(built: Build, source: Path, form: str) -> None:
    """Its gradient is 2 · strength · F (θ − θ0), which the first moment of SGD holds behind one step."""
    case = Case.load(built("cifar_resnet20", method="eata", source=source), 8, 1)
    moments = []
    for information in (0.0, 100.0):
        step = Step(case.bundle, operators=form)
        for name, array in step.of("parameter").items():
            array += 0.1
            step.tensors[f"{name}.fisher"].fill(information)
        step.run(photographs(16), np.zeros(len(case.manifest.layers), np.float32), 0.0)
        moments.append({name: step.tensors[f"{name}.moment1"].copy() for name in case.trained})
    for name in case.trained:
        np.testing.assert_allclose(moments[1][name] - moments[0][name], 2 * 1.0 * 100 * 0.1, rtol=1e-3)


def test_second_pass_of_sar_sees_what_the_first_selects(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.load(built("cifar_resnet20", method="sar"), 8, 1)
    step = Step(case.bundle)
    calls: list[tuple[Mapping[str, np.ndarray], StepResult]] = []
    run = step.run

    def recording(images: np.ndarray, *others: Any, **options: Any) -> StepResult:
        calls.append((others[2], run(images, *others, **options)))
        return calls[-1][1]

    monkeypatch.setattr(step, "run", recording)
    images = np.concatenate([photographs(16), DOUBTFUL])
    Adapter(case.manifest, step, Settings(None, "probe", None, 0.1, seed=0)).adapt(images)
    (_, first), (feeds, _) = calls
    assert first.sample_weights is not None
    assert 0 < first.selected < len(images)
    np.testing.assert_array_equal(feeds["sample_mask"], first.sample_weights > 0)


@pytest.mark.parametrize("method", ["cotta", "law"])
def test_pruning_keeps_less_of_any_method(built: Build, method: str) -> None:
    kept = {}
    for prune in ("dense", "surgeon"):
        case = Case.load(built("cifar_resnet20", method=method, prune=prune), 1, 1)
        adapter = Adapter(case.manifest, Step(case.bundle), Settings(None, "probe", None, 1e-3, seed=0))
        kept[prune] = adapter.adapt(photographs(8)).kept_bytes
    assert kept["surgeon"] < 0.6 * kept["dense"]


def predictions_of(case: Case, tensors: Mapping[str, np.ndarray], images: np.ndarray) -> list[int]:
    """Of the model with these tensors."""
    found = {name: torch.from_numpy(array) for name, array in tensors.items()}
    case.module.load_state_dict(found, strict=False)
    return [int(label) for label in case.module(torch.from_numpy(images)).argmax(1)]


def test_state_of_a_teacher_goes_on_and_predicts(built: Build, tmp_path: Path, on_device: Run) -> None:
    """What `infer` predicts is the teacher's, not the student's, and a second run goes on from the first."""
    bundle, state = built("cifar_resnet20", method="cotta"), str(tmp_path / "state")
    np.save(tmp_path / "images.npy", photographs(16))
    common = ("--images", str(tmp_path / "images.npy"), "--state", state, "--json")
    for first in (1, 3):
        done = on_device(bundle, "adapt", *common, "--batch", "8", "--learning-rate", "0.05")
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["step"] for line in done.stdout.splitlines()] == [first, first + 1]
    found = json.loads(on_device(bundle, "infer", *common).stdout)
    assert found["adapted_steps"] == 4
    saved = open_state(Bundle(bundle), tmp_path / "state").load()
    assert saved is not None
    case = Case.load(bundle, 8, 1)
    assert found["predictions"] != predictions_of(case, saved.tensors, photographs(16))
    assert found["predictions"] == predictions_of(case, deployed(saved.tensors), photographs(16))


def test_eata_without_source_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--method eata measures on images that the model was trained on"):
        build(Request("cifar_resnet20", "host", method="eata", output=tmp_path / "bundle"))


PLAIN = Request("tests.end_to_end.test_methods:plain", "host", weights="none", image_size=32)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("tent", "method tent trains batchnorm or layernorm layers, and .* has none"),
        ("sar", "method sar trains batchnorm or layernorm layers, and .* has none"),
        ("bn", "method bn adapts batchnorm layers, and .* has none"),
    ],
)
def test_method_of_norms_on_a_model_without_is_refused(method: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        build(replace(PLAIN, method=method, output=tmp_path / "bundle"))


def test_statistics_of_a_model_without_norms_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mixes statistics of batchnorm"):
        build(replace(PLAIN, method="full", source_samples=4, output=tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        ("plain", {"method": "full"}),
        ("flat", {"method": "full", "source_samples": 4}),
        ("flat", {"method": "bn", "source_samples": 4}),
    ],
)
def test_verify_passes_on_models_of_a_user(model: str, chosen: dict[str, object], tmp_path: Path) -> None:
    """Biases of convolutions train, and BatchNorm1d mixes its statistics."""
    request = replace(PLAIN, model=f"tests.end_to_end.test_methods:{model}", output=tmp_path / "bundle")
    build(replace(request, **chosen))  # type: ignore[arg-type]
    assert [check for check in verify(tmp_path / "bundle", samples=8, batches=1) if not check.passed] == []


def test_verify_knows_the_rate_of_a_small_batch(built: Build) -> None:
    """SAR's: a quarter of its own at 8 images."""
    checks = list(verify(built("cifar_resnet20", method="sar"), samples=8, batches=1))
    assert [check for check in checks if not check.passed] == []


def test_statistics_that_two_places_share_are_refused(tmp_path: Path) -> None:
    shared = replace(PLAIN, model="tests.end_to_end.test_methods:shared", method="bn", output=tmp_path / "bundle")
    with pytest.raises(ModelError, match="would follow two places"):
        build(shared)


def shared() -> torch.nn.Module:
    norm = torch.nn.BatchNorm2d(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 3), norm, torch.nn.Conv2d(3, 3, 3), norm, torch.nn.Flatten(), torch.nn.Linear(2352, 10)
    )


def flat() -> torch.nn.Module:
    """With a BatchNorm behind a linear layer."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 4, 3, stride=2, bias=False)
    features = [convolution, torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(900, 16)]
    return torch.nn.Sequential(*features, torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 10))


def plain() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(3600, 10))


def test_tent_trains_the_layernorms_of_a_transformer(built: Build) -> None:
    bundle = built("tests.end_to_end.test_verify:small_vit", method="tent", weights="none", image_size=32)
    case = Case.load(bundle, 8, 1)
    assert {layer.kind for layer in case.manifest.layers} == {"layernorm"}
    checks = list(check_updates(case))
    assert all(check.passed for check in checks), "\n".join(map(str, checks))


def test_collapse_brings_back_what_was_shipped(built: Build) -> None:
    """SAR starts anew once the moving average of its loss is too low; here everything is."""
    case = Case.load(built("cifar_resnet20", method="sar"), 8, 1)
    step = Step(case.bundle)
    before = {name: array.copy() for name, array in step.state.items()}
    method = case.manifest.method
    touchy = replace(case.manifest, method=replace(method, numbers={**method.numbers, "reset_below": 10.0}))
    for manifest, resets in ((case.manifest, False), (touchy, True)):
        adapter = Adapter(manifest, step, Settings(None, "probe", None, 0.1, seed=0))
        assert adapter.adapt(photographs(16, noise=0.0)).selected > 0
        assert resets == all(np.array_equal(step.state[name], array) for name, array in before.items())
