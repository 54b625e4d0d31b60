"""Devices to deploy to: OpenSSH's own server on the loopback interface, each with a home folder, keys and a port."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

DEBIAN = Path("build/debian/bookworm").absolute()
SSHD, SFTP_SERVER = DEBIAN / "usr/sbin/sshd", DEBIAN / "usr/lib/openssh/sftp-server"
LIBRARIES = ":".join(str(DEBIAN / folder / "x86_64-linux-gnu") for folder in ("lib", "usr/lib"))
USER = "device"
PRIVILEGE_SEPARATION = Path("/run/sshd")
MOST_SECONDS = 20

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {client}.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp exec /bin/sh {folder}/sftp.sh
"""

WHOLE = "exec {server}"
BREAKING = "dd bs=16384 count={most} 2>/dev/null | {server}; kill -KILL $PPID"
"""The connection ends once so many pieces of requests have arrived."""


@dataclass
class Device:
    """home: where a login begins."""

    home: Path
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"{USER}@127.0.0.1:{self.port}"

    @property
    def known(self) -> str:
        """Its line of known_hosts."""
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def break_after(self, most: int | None) -> None:
        """From the next connection on, transfers end after so many pieces of 16 KiB; None: they do not."""
        template = WHOLE if most is None else BREAKING
        server = f"env LD_LIBRARY_PATH={LIBRARIES} {SFTP_SERVER}"
        (self.folder / "sftp.sh").write_text(template.format(server=server, most=most) + "\n")


def make_key(path: Path, passphrase: str | None = None) -> Path:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path, "pkcs8-pem" if passphrase else "openssh", passphrase)
    path.chmod(0o600)
    key.write_public_key(f"{path}.pub")
    return path


@contextmanager
def running(folder: Path, client: Path) -> Iterator[Device]:
    """A device below the empty `folder` that lets the owner of the key `client` in."""
    device = Device(folder / "home", _free_port(), folder)
    device.home.mkdir()
    make_key(folder / "host_key")
    device.break_after(None)
    configuration = CONFIGURATION.format(port=device.port, folder=folder, client=client)
    (folder / "sshd_config").write_text(configuration)
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with open(folder / "log", "w") as log, subprocess.Popen(command, env=_names(device), stderr=log) as process:
        try:
            _await(device, process)
            yield device
        finally:
            process.terminate()


def _names(device: Device) -> dict[str, str]:
    """An environment in which the user of this process is called USER and lives in `device.home`."""
    passwd = f"{USER}:x:{os.getuid()}:{os.getgid()}::{device.home}:/bin/sh\nsshd:x:65533:65533::/:/bin/false\n"
    (device.folder / "passwd").write_text(passwd)
    (device.folder / "group").write_text(f"{USER}:x:{os.getgid()}:\nsshd:x:65533:\n")
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(exist_ok=True)  # what OpenSSH asks for where it runs as root
    wrapper = DEBIAN / "usr/lib/x86_64-linux-gnu/libnss_wrapper.so"
    tables = {f"NSS_WRAPPER_{name.upper()}": str(device.folder / name) for name in ("passwd", "group")}
    return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": LIBRARIES, "LD_PRELOAD": str(wrapper), **tables}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(device: Device, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + MOST_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", device.port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not start: {(device.folder / 'log').read_text()}")
