"""An SSH connection to a device, or in words why there is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from toolchain.deployment.device import Device
from toolchain.deployment.hosts import Host
from toolchain.errors import DeployError

CONNECT_SECONDS = 30
SILENT_SECONDS = 15
"""A device that says nothing for three times this long is taken for lost."""

UNREADABLE = (asyncssh.ConfigParseError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError)


@asynccontextmanager
async def connected(host: Host, configuration: Path | None) -> AsyncIterator[Device]:
    """configuration: a file as ~/.ssh/config, which is read if None. Known host keys only; no question is asked.

    Raises DeployError for all that can go wrong with the connection, also later.
    """
    try:
        async with asyncssh.connect(
            host.name,
            **({} if host.port is None else {"port": host.port}),
            **({} if host.user is None else {"username": host.user}),
            **({} if configuration is None else {"config": [configuration]}),
            connect_timeout=CONNECT_SECONDS,
            login_timeout=CONNECT_SECONDS,
            keepalive_interval=SILENT_SECONDS,
        ) as connection:
            yield Device(connection)
    except (asyncssh.Error, OSError, asyncio.TimeoutError, *UNREADABLE) as error:
        raise DeployError(_in_words(host, error)) from error


def _in_words(host: Host, error: Exception) -> str:
    if isinstance(error, UNREADABLE):
        return f"a key or the SSH configuration of this user cannot be read ({error})"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return (
            "its host key is unknown, or is not the one in known_hosts: connect once by hand with "
            f"`ssh {_by_hand(host)}`, compare the fingerprint that is shown with the device's, and accept it"
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return (
            f"it accepted no key of this user: send it one with `ssh-copy-id {_by_hand(host)}`, and give a key with a "
            "passphrase to the agent with `ssh-add`"
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"it refused to run a command or to take files ({error.reason}): its sshd needs a shell and SFTP"
    if isinstance(error, asyncssh.SFTPError):
        return f"a file could not be written there ({error.reason}): is its disk full, or the folder not yours?"
    if isinstance(error, asyncssh.DisconnectError):
        return f"the connection was lost ({error.reason}): run the same command again; only what is missing is sent"
    return f"it cannot be reached ({error or type(error).__name__}): is it on, and does `ssh {_by_hand(host)}` work?"


def _by_hand(host: Host) -> str:
    port = f"-p {host.port} " if host.port else ""
    return port + (f"{host.user}@" if host.user else "") + host.name
