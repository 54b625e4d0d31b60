"""One device: the new bundle beside the old one, proved there, then in its place."""

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import asyncssh

from toolchain.deployment.device import Answer, Device
from toolchain.deployment.outcome import Outcome
from toolchain.driver.bytesize import format_bytes
from toolchain.errors import DeployError

CLEANING_SECONDS = 10


@dataclass(frozen=True)
class Parcel:
    """What is to be on every device.

    hashes: SHA-256 of every file of the bundle, manifest.json among them. identity: that of manifest.json.
    destination: the bundle's path there. python: the program that runs it.
    """

    folder: Path
    hashes: dict[str, str]
    identity: str
    destination: PurePosixPath
    python: str

    @property
    def versions(self) -> PurePosixPath:
        """The folder beside the destination that holds the bundles to which it leads."""
        return self.destination.parent / f".{self.destination.name}.versions"


async def deliver(device: Device, parcel: Parcel, outcome: Outcome, tell: Callable[[str], None]) -> None:
    """Raises DeployError; the device then has what it had before."""
    tell("comparing")
    await _require_place(device, parcel)
    found = await device.hashes(parcel.destination, parcel.hashes)
    changed = [name for name, digest in parcel.hashes.items() if found.get(name) != digest]
    if not changed:
        outcome.selftest = await _proved(device, parcel, parcel.destination, tell)
        return
    staging = parcel.versions / f"{parcel.identity[:12]}-{secrets.token_hex(4)}.part"
    try:
        await _stage(device, parcel, staging, changed, outcome, tell)
        outcome.selftest = await _proved(device, parcel, staging, tell)
        await _switch(device, parcel, staging)
    except BaseException:
        await _discard(device, staging)
        raise


async def _require_place(device: Device, parcel: Parcel) -> None:
    """Only a bundle is replaced."""
    if await device.exists(parcel.destination) and not await device.exists(parcel.destination / "manifest.json"):
        raise DeployError(f"{parcel.destination} is there and is not a bundle: choose another place with --to")


async def _stage(
    device: Device,
    parcel: Parcel,
    staging: PurePosixPath,
    changed: list[str],
    outcome: Outcome,
    tell: Callable[[str], None],
) -> None:
    """The whole bundle in `staging`; what the device has already is not sent."""
    total = sum((parcel.folder / name).stat().st_size for name in changed)

    def sent(more: int) -> None:
        outcome.bytes_sent += more
        tell(f"sending {format_bytes(outcome.bytes_sent)} of {format_bytes(total)}")

    await device.do("mkdir", "-p", staging)
    await device.link(parcel.destination, parcel.hashes.keys() - set(changed), staging)
    await device.send({name: parcel.folder / name for name in changed}, staging, sent)
    outcome.files_sent = len(changed)


async def _proved(device: Device, parcel: Parcel, folder: PurePosixPath, tell: Callable[[str], None]) -> dict[str, Any]:
    """The report of a selftest that passed, on files that are what was built."""
    tell("comparing checksums")
    found = await device.hashes(folder, parcel.hashes)
    wrong = [name for name, digest in parcel.hashes.items() if found.get(name) != digest]
    if wrong:
        raise DeployError(f"{wrong[0]} differs there from what was sent: run the same command again")
    tell("selftest")
    state = parcel.destination.with_name(f"{parcel.destination.name}-state")  # an engine that is built there stays
    answer = await device.ask(parcel.python, folder, "selftest", "--state", state, "--json")
    return read_report(answer, parcel.python)


def read_report(answer: Answer, python: str) -> dict[str, Any]:
    """Of a selftest that passed. Raises DeployError with what it failed with."""
    try:
        report = json.loads(answer.out)
    except ValueError:
        said = (answer.err or answer.out).strip() or f"exit code {answer.code}"
        raise DeployError(f"{python} could not run the selftest there: {said}") from None
    if answer.code != 0 or not report.get("passed"):
        raise DeployError(f"the selftest failed there: {_complaint(report)}")
    return dict(report)


def _complaint(report: dict[str, Any]) -> str:
    if "error" in report:
        message, kind = (str(report["error"].get(name)) for name in ("message", "kind"))
        missing = "; that file is in the bundle here too, and --python names another Python there"
        return message + (missing if kind == "DependencyError" else "")
    failed = [f"{check['name']} {check['measured']:.3g} (limit {check['limit']:.3g})" for check in _failed(report)]
    return ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")


def _failed(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in report.get("checks", ()) if not check["passed"]]


async def _switch(device: Device, parcel: Parcel, staging: PurePosixPath) -> None:
    """The proved version in place; the one before it stays, for a user to go back to."""
    previous = await device.target_of(parcel.destination)
    version = staging.with_suffix("")
    aside = parcel.versions / "replaced"
    await device.remove(aside)
    await device.do("mv", "-T", staging, version)
    await device.switch(parcel.destination, PurePosixPath(parcel.versions.name) / version.name, aside)
    await device.clean(parcel.versions, version.name, previous.name if previous else aside.name)


async def _discard(device: Device, staging: PurePosixPath) -> None:
    """Where the connection is gone, what was sent stays beside the bundle, and a later deployment removes it."""
    with suppress(asyncssh.Error, OSError, asyncio.TimeoutError):
        await asyncio.wait_for(device.remove(staging), CLEANING_SECONDS)
