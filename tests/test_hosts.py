"""Addresses of devices, as a user writes them."""

from pathlib import Path

import pytest

from toolchain.errors import UsageError

pytest.importorskip("asyncssh")
from toolchain.deployment import Host, parse_hosts, read_inventory


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("nano", [Host("nano")]),
        ("me@nano:2222, me@[fe80::1]:22,[::1]", [Host("nano", "me", 2222), Host("fe80::1", "me", 22), Host("::1")]),
        (" , ", []),
    ],
)
def test_addresses(text: str, hosts: list[Host]) -> None:
    assert parse_hosts(text) == hosts
    assert parse_hosts(",".join(map(str, hosts))) == hosts


@pytest.mark.parametrize("text", ["me@", "@nano", "nano:", "nano:ssh", "nano:70000", "a b", "me@you@nano"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        parse_hosts(text)


def test_an_inventory_has_comments(tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    path.write_text("# all\n\nme@nano  # the first\nme@orin,me@pi\n")
    assert [host.name for host in read_inventory(path)] == ["nano", "orin", "pi"]
    with pytest.raises(UsageError, match="cannot be read"):
        read_inventory(tmp_path / "absent")
