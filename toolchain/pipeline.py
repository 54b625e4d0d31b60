"""The story of a build: from a model's name to a bundle on disk."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from targets import Target, load_target
from toolchain.artifacts import Compiled, Forms, Traced
from toolchain.driver.budget import Work, probe_work, require_fit
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.images import open_images
from toolchain.driver.manifest import Manifest, ModelFacts, read_manifest
from toolchain.errors import BundleError, TargetError, UsageError
from toolchain.methods import Choices, find_method
from toolchain.methods.declaration import Method
from toolchain.models.registry import LoadedModel, load_model
from toolchain.models.source_data import prepared, read_source_data
from toolchain.stages.bundle import Settings, bundle, seal
from toolchain.stages.constants import find_constants
from toolchain.stages.differentiate import differentiate
from toolchain.stages.dump import dump
from toolchain.stages.export import export
from toolchain.stages.fuse import fuse
from toolchain.stages.lower import lower
from toolchain.stages.predict import predict
from toolchain.stages.record import record
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace
from toolchain.stages.warm_up import warm_up

TRAINING_STOPS = ("differentiate", "rewrite", "lower", "fuse")
STOPS = ("trace", "export", *TRAINING_STOPS)
"""The stages that a build can stop after: those that make graphs."""

VALUES = ("fp32", "fp16")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What to build. weights: see load_model. train … source_samples: see Choices. source: images that the model was
    trained on, where the method needs some. values: the precision of what is kept, one of VALUES. output: the bundle's
    folder. stop_after: one of STOPS."""

    model: str
    target: str
    method: str = "surgeon"
    train: str | None = None
    prune: str | None = None
    selection: bool = False
    consistency: bool = False
    source_samples: int | None = None
    source: Path | None = None
    weights: str | None = None
    image_size: int | None = None
    batch: int = 8
    memory_budget: int | None = None
    values: str = "fp32"
    output: Path | None = None
    stop_after: str | None = None

    @property
    def choices(self) -> Choices:
        return Choices(self.train, self.prune, self.selection, self.consistency, self.source_samples)

    @property
    def folder(self) -> Path:
        name = f"{self.model}-{self.target}".replace(":", "-").replace("/", "-")
        return self.output if self.output is not None else Path(name)


@dataclass
class Report:
    """Where the result is, and how many seconds each stage took."""

    folder: Path
    stages: list[tuple[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.stages)

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def build(request: Request, announce: Callable[[str], None] = lambda stage: None) -> Report:
    """Builds a bundle, whole or not at all. announce: called with the name of each stage before it runs.

    Raises ToolchainError: UsageError for names and values that no build accepts, ModelError, TargetError.
    """
    _check(request)
    target = _target(request.target)
    method = find_method(request.method, request.choices)
    half = request.values == "fp16"
    if half and method.mecta is not None:
        raise UsageError(f"--values fp16: method {method.name} keeps channels as they are")
    settings = Settings(request.batch, request.memory_budget, half, request.choices)
    run = _Stages(request, announce)
    with _whole_or_nothing(request) as folder, tempfile.TemporaryDirectory() as scratch:
        try:
            model = run("load", load_model, request.model, request.weights, request.image_size)
            if method.meta_networks is not None:
                data = read_source_data(_source(request))
                model = run("warm-up", warm_up, model, method.meta_networks.warm_up, data, announce)
            anchoring = _anchoring_images(request, method, model)
            traced = run("trace", trace, model)
            exported = run("export", export, traced, target)  # early: it says what the target cannot run
            compiled = _compile(run, traced, method, Path(scratch), half)
            constants = run("constants", find_constants, model.module, traced, compiled.trained, method, anchoring)
            compiled = replace(compiled, constants=constants)
            manifest = run("bundle", bundle, folder, traced, compiled, exported, method, target, settings)
            _check_budget(manifest)
            _check_memory(manifest, target)
            seal(folder, manifest)
            run("record", record, folder)
            seal(folder, manifest)
        except _Stopped as stopped:
            dump(stopped.result, folder)
    return run.report


def _compile(run: "_Stages", traced: Traced, method: Method, scratch: Path, half: bool) -> Compiled:
    if method.optimizer is None:
        return Compiled(run("predict", predict, traced, method))
    differentiated = run("differentiate", differentiate, traced, method, scratch)
    rewritten = run("rewrite", rewrite, differentiated, half, method)
    lowered = run("lower", lower, traced, rewritten, differentiated, method)
    fused = run("fuse", fuse, differentiated, rewritten, method, half)
    beside = run("predict", predict, traced, method) if method.predicts_beside else None
    return Compiled(Forms(lowered, fused), beside, differentiated, rewritten)


def _anchoring_images(request: Request, method: Method, model: LoadedModel) -> np.ndarray | None:
    """Images of the source float32 [M, 3, H, W], preprocessed, where the method holds parameters to where they were.

    Raises UsageError where there are none; InputError.
    """
    if method.anchor is None:
        return None
    if request.source is None:
        raise UsageError(
            f"--method {method.name} measures on images that the model was trained on which parameters matter: "
            "give --source FILE.npz with x_train and y_train, or a folder of images"
        )
    if request.source.suffix == ".npz":
        data = read_source_data(request.source).images[: method.anchor.samples]
        return np.asarray(prepared(data, model.preprocessing).numpy())
    images = open_images(request.source, ModelFacts(model.name, 0, 3, model.image_size, model.preprocessing))
    return images.read(0, min(len(images), method.anchor.samples))


class _Stopped(Exception):
    """The stage that the user asked for is done."""

    def __init__(self, result: object) -> None:
        self.result = result


class _Stages:
    """Calls each stage, timed and announced; stops behind the one that the user asked for."""

    def __init__(self, request: Request, announce: Callable[[str], None]) -> None:
        self.report = Report(request.folder)
        self._last = request.stop_after
        self._announce = announce

    def __call__(self, name: str, stage: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._announce(name)
        start = time.perf_counter()
        result = stage(*args, **kwargs)
        self.report.stages.append((name, time.perf_counter() - start))
        if name == self._last:
            raise _Stopped(result)
        return result


def _check(request: Request) -> None:
    if request.values not in VALUES:
        raise UsageError(f"--values {request.values!r} is no precision: choose {' or '.join(VALUES)}")
    if request.stop_after not in (None, *STOPS):
        raise UsageError(f"--stop-after {request.stop_after!r} is no stage: choose one of {', '.join(STOPS)}")
    if request.stop_after in TRAINING_STOPS and find_method(request.method, request.choices).optimizer is None:
        raise UsageError(f"--stop-after {request.stop_after}: method {request.method} trains nothing, choose trace")


def _source(request: Request) -> Path:
    if request.source is None:
        raise UsageError(
            f"--method {request.method} learns from labelled images that the model was trained on: "
            "give --source FILE.npz with x_train and y_train"
        )
    return request.source


def _target(name: str) -> Target:
    try:
        return load_target(name)
    except LookupError as error:
        raise UsageError(f"{error.args[0]}; `toolchain targets` describes them") from error


@contextmanager
def _whole_or_nothing(request: Request) -> Iterator[Path]:
    """A new folder that takes the place of the request's once all has gone well; the old one is moved aside first."""
    destination = request.folder.resolve()
    if destination.exists() and not _may_replace(destination, request):
        raise UsageError(f"{destination} exists and is not a bundle to be replaced: choose another folder with -o")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent)
    except OSError as error:
        raise UsageError(f"{destination} cannot be written ({error}): choose another folder with -o") from error
    with scratch:
        folder = Path(scratch.name) / "bundle"
        folder.mkdir()
        yield folder
        if destination.exists():
            destination.rename(Path(scratch.name) / "replaced")
        folder.rename(destination)


def _may_replace(path: Path, request: Request) -> bool:
    """An empty folder, graphs that an earlier --stop-after wrote or, by a whole build, a bundle."""
    if not path.is_dir():
        return False
    graphs = {f"{name}.onnx" for name in ("forward", "training", "step", "infer")}
    return {found.name for found in path.iterdir()} <= graphs or (request.stop_after is None and _is_bundle(path))


def _is_bundle(path: Path) -> bool:
    try:
        read_manifest(path / "manifest.json")
    except BundleError:
        return False
    return True


def _check_budget(manifest: Manifest) -> None:
    """Raises UsageError, with the numbers, for a budget that no prune ratios meet."""
    if manifest.memory_budget is not None:
        step = manifest.native or manifest.step
        require_fit(Work(manifest, step, manifest.batch), manifest.memory_budget)
        require_fit(probe_work(manifest, step, manifest.method.probe.samples), manifest.memory_budget)


def _check_memory(manifest: Manifest, target: Target) -> None:
    """Raises TargetError for a step that, with every activation pruned, takes more than the board has."""
    memory = target.number("memory_gib")
    step = manifest.native or manifest.step
    state = sum(tensor.bytes for tensor in step.inputs if "N" not in tensor.shape)
    needed = state + Work(manifest, step, manifest.batch).least.bytes
    if memory is not None and needed > memory * 2**30:
        raise TargetError(
            f"{target.name} has {memory:g} GiB of memory; {manifest.model.name} with its optimizer takes "
            f"{format_bytes(state)} and a step on {manifest.batch} images at least {format_bytes(needed - state)}: "
            "lower --batch or --image-size, or choose another target"
        )
