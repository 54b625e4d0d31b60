"""The story of a build: from a model's name to a bundle on disk."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from targets import Target, load_target
from toolchain.artifacts import Compiled, Forms, Traced
from toolchain.destination import whole_or_nothing
from toolchain.errors import UsageError
from toolchain.fit import check_statistics
from toolchain.limits import check_budget, check_memory
from toolchain.methods import find_method
from toolchain.methods.declaration import Method
from toolchain.models.registry import load_model
from toolchain.request import Report, Request, check
from toolchain.setting import nearest_setting
from toolchain.source_images import anchoring_images, labelled_images
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

__all__ = ["Report", "Request", "build"]

P = ParamSpec("P")
T = TypeVar("T")


def build(request: Request, announce: Callable[[str], None] = lambda stage: None) -> Report:
    """Builds a bundle, whole or not at all. announce: called with the name of each stage before it runs.

    Raises ToolchainError: UsageError for names and values that no build accepts, ModelError, TargetError.
    """
    check(request)
    target = _target(request.target)
    half = request.values == "fp16"
    run = _Stages(request, announce)
    with whole_or_nothing(request) as folder, tempfile.TemporaryDirectory() as scratch:
        try:
            model = run("load", load_model, request.model, request.weights, request.image_size)
            choices = replace(request.choices, setting=request.setting or nearest_setting(model))
            method = find_method(request.method, choices)
            if method.meta_networks is not None:
                images = labelled_images(request)
                model = run("warm-up", warm_up, model, method.meta_networks.warm_up, images, announce)
            anchoring = anchoring_images(request, method, model)
            traced = run("trace", trace, model)
            check_statistics(traced, method)
            exported = run("export", export, traced, target)  # early: it says what the target cannot run
            compiled = _compile(run, traced, method, Path(scratch), half)
            constants = run("constants", find_constants, model.module, traced, compiled.trained, method, anchoring)
            compiled = replace(compiled, constants=constants)
            settings = Settings(request.batch, request.memory_budget, half, choices)
            manifest = run("bundle", bundle, folder, traced, compiled, exported, method, target, settings)
            check_budget(manifest)
            check_memory(manifest, target)
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


def _target(name: str) -> Target:
    try:
        return load_target(name)
    except LookupError as error:
        raise UsageError(f"{error.args[0]}; `toolchain targets` describes them") from error
