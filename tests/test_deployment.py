"""Addresses of devices as a user writes them, and what a device says."""

import json
from pathlib import Path
from typing import Any

import pytest

from toolchain.errors import DeployError, UsageError

pytest.importorskip("asyncssh")
from toolchain.deployment import Host, parse_hosts, read_inventory
from toolchain.deployment.deliver import read_report
from toolchain.deployment.device import Answer

FAILED = {"name": "logits", "passed": False, "measured": 0.5, "limit": 0.02}


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


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"passed": False, "checks": [FAILED]}, "logits 0.5 (limit 0.02)"),
        ({"passed": False, "checks": [FAILED] * 5}, "and 2 more"),
        ({"error": {"kind": "BundleError", "message": "a file is missing"}}, "a file is missing"),
        ({"error": {"kind": "DependencyError", "message": "no numpy"}}, "--python names another Python there"),
    ],
)
def test_what_a_selftest_fails_with_is_told(report: dict[str, Any], words: str) -> None:
    with pytest.raises(DeployError) as failed:
        read_report(Answer(1, json.dumps(report), ""), "python3")
    assert words in str(failed.value)


def test_a_selftest_that_does_not_run_is_told() -> None:
    with pytest.raises(DeployError, match="could not run the selftest there: python3: not found"):
        read_report(Answer(127, "", "python3: not found\n"), "python3")


def test_a_report_is_believed_only_with_its_exit_code() -> None:
    report = {"passed": True, "checks": []}
    assert read_report(Answer(0, json.dumps(report), ""), "python3") == report
    with pytest.raises(DeployError, match="failed"):
        read_report(Answer(1, json.dumps(report), ""), "python3")
