"""Several devices at once, each for itself."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from toolchain.deployment.connect import connected
from toolchain.deployment.deliver import Parcel, deliver
from toolchain.deployment.hosts import Host
from toolchain.deployment.outcome import Outcome
from toolchain.driver.bundle import Bundle
from toolchain.driver.output import progress
from toolchain.errors import BundleError, ToolchainError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Order:
    """What to deploy where. destination: the bundle's path there (None: its folder's name, where a login begins).

    python: what runs the bundle there. jobs: devices at a time. configuration: instead of ~/.ssh/config.
    """

    bundle: Path
    hosts: Sequence[Host]
    destination: PurePosixPath | None = None
    python: str = "python3"
    jobs: int = 8
    configuration: Path | None = None


def deploy(order: Order) -> list[Outcome]:
    """The outcome of every host, in their order. Raises BundleError for a bundle that is not as it was built."""
    return asyncio.run(_deploy(order, _parcel(order)))


def _parcel(order: Order) -> Parcel:
    bundle = Bundle(order.bundle)
    altered = [name for name, differs in bundle.altered_files() if differs]
    if altered:
        raise BundleError(f"{bundle.path / altered[0]} was altered (its SHA-256 differs): build the bundle again")
    hashes = {MANIFEST: bundle.identity, **{name: facts.sha256 for name, facts in bundle.manifest.files.items()}}
    place = order.destination or PurePosixPath(order.bundle.resolve().name)
    return Parcel(bundle.path, hashes, bundle.identity, place, order.python)


async def _deploy(order: Order, parcel: Parcel) -> list[Outcome]:
    turns, board = asyncio.Semaphore(order.jobs), _Board()

    async def take(host: Host) -> Outcome:
        async with turns:
            return await _one(host, order, parcel, board)

    try:
        return await asyncio.gather(*(take(host) for host in order.hosts))
    finally:
        progress("")


async def _one(host: Host, order: Order, parcel: Parcel, board: "_Board") -> Outcome:
    """Its failure is its own."""
    outcome, begin = Outcome(host, len(parcel.hashes)), time.perf_counter()
    try:
        board.tell(host, "connecting")
        async with connected(host, order.configuration) as device:
            await deliver(device, parcel, outcome, lambda words: board.tell(host, words))
    except ToolchainError as error:
        outcome.error = error
    outcome.seconds = time.perf_counter() - begin
    board.tell(host, "done" if outcome.passed else "failed")
    return outcome


@dataclass
class _Board:
    """The progress line: what every host is at."""

    words: dict[Host, str] = field(default_factory=dict)

    def tell(self, host: Host, words: str) -> None:
        self.words[host] = words
        line = " | ".join(f"{host}: {words}" for host, words in self.words.items())
        progress(line[: shutil.get_terminal_size().columns - 1])
