"""Who works through the tasks of a sweep: this process, one after the other, or the workers of a Ray cluster."""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from toolchain.errors import DependencyError, ToolchainError
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
    return Done(trial, None)


def work_here(work: Work, trials: Sequence[Trial], folder: Path) -> Iterator[Done]:
    for trial in trials:
        yield attempt(work, trial, folder)


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
    remote = ray.remote(max_retries=0)(attempt)
    waiting = [remote.options(num_cpus=trial.settings.threads).remote(work, trial, folder) for trial in trials]
    while waiting:
        (ready,), waiting = ray.wait(waiting)
        yield ray.get(ready)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--ray needs Ray: pip install 'toolchain[sweep]'") from error
    return ray
