"""Who works through the tasks of a sweep: this process, one after the other, or the workers of a Ray cluster."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from toolchain.errors import DependencyError, ToolchainError, UsageError
from toolchain.evaluation.sweep.trial import Trial

LOCAL = "local"
"""The address that stands for a cluster of this machine's processors, for as long as the sweep takes."""

STORE_BYTES = 100 << 20
"""Of its object store: what passes between processes here are a few kilobytes."""

Work = Callable[[Trial, Path], None]


class Done(NamedTuple):
    """error: in words, None if all went well."""

    trial: Trial
    error: str | None


Workers = Callable[[Work, Sequence[Trial], Path], Iterator[Done]]
"""Calls the work with each trial and the folder; yields each as it is done."""


def attempt(work: Work, trial: Trial, folder: Path) -> Done:
    """One trial that cannot be done does not stop the others."""
    try:
        work(trial, folder)
    except ToolchainError as error:
        return Done(trial, str(error))
    except Exception as error:  # of whatever kind, it is this trial's own
        return Done(trial, f"{type(error).__name__}: {error}")
    return Done(trial, None)


def work_here(work: Work, trials: Sequence[Trial], folder: Path) -> Iterator[Done]:
    for trial in trials:
        yield attempt(work, trial, folder)


@contextmanager
def open_workers(address: str | None) -> Iterator[Workers]:
    """address: of a Ray cluster; None: this process."""
    if address is None:
        yield work_here
        return
    with open_ray(address) as workers:
        yield workers


@contextmanager
def open_ray(address: str) -> Iterator[Workers]:
    """Workers of the cluster at `address`, which see the same files under the same names; LOCAL starts one.

    A trial takes as many of its processors as it has threads.
    """
    ray = _import_ray()
    own = {"include_dashboard": False, "object_store_memory": STORE_BYTES} if address == LOCAL else {}
    try:
        _require_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, ValueError, RuntimeError) as error:
        raise ToolchainError(
            f"no Ray cluster answers at {address!r} ({error}): `ray start --head` starts one"
        ) from error
    try:
        yield lambda work, trials, folder: _work_on_ray(ray, work, trials, folder)
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes. Raises OSError."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _work_on_ray(ray: Any, work: Work, trials: Sequence[Trial], folder: Path) -> Iterator[Done]:
    _require_processors(ray, trials)
    remote = ray.remote(max_retries=0)(attempt)
    tasks = {remote.options(num_cpus=one.settings.threads).remote(work, one, folder): one for one in trials}
    waiting = list(tasks)
    while waiting:
        (ready,), waiting = ray.wait(waiting)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as error:
            yield Done(tasks[ready], f"its worker was lost ({str(error).splitlines()[0]})")


def _require_processors(ray: Any, trials: Sequence[Trial]) -> None:
    """A trial that no node can take would wait for ever."""
    most = int(max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0))
    wanted = max((trial.settings.threads for trial in trials), default=0)
    if wanted > most:
        raise UsageError(f"threads = {wanted}: no node of the Ray cluster has more than {most} processors")


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--ray needs Ray: pip install 'toolchain[sweep]'") from error
    return ray
