"""Which devices are meant."""

import re
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import UsageError

ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<literal>[^]\s]+)\]|(?P<name>[^:@\s]+))(?::(?P<port>\d+))?")
LAST_PORT = 65535


@dataclass(frozen=True)
class Host:
    """A device; None where the SSH configuration is to say."""

    name: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return (f"{self.user}@" if self.user else "") + name + (f":{self.port}" if self.port else "")


def parse_host(text: str) -> Host:
    """[user@]host[:port], an IPv6 address in brackets. Raises UsageError."""
    found = ADDRESS.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port <= LAST_PORT):
        raise UsageError(f"{text!r} is no address of a device: write user@host or user@host:port")
    return Host(found["literal"] or found["name"], found["user"], port)


def parse_hosts(text: str) -> list[Host]:
    """Addresses with commas between them."""
    return [parse_host(part.strip()) for part in text.split(",") if part.strip()]


def read_inventory(path: Path) -> list[Host]:
    """A file with one address a line; # begins a comment. Raises UsageError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the inventory {path} cannot be read ({error})") from error
    return [host for line in lines for host in parse_hosts(line.partition("#")[0])]
