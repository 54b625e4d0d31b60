"""Bring a bundle to devices over SSH, prove it there by its selftest, and put it in place; exit 1 if one fails."""

import argparse
from pathlib import Path, PurePosixPath

from toolchain.cli.arguments import count
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.output import emit
from toolchain.errors import DependencyError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument("hosts", nargs="?", default="", metavar="user@host[:port],...", help="the devices")
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="more of them, one a line")
    parser.add_argument("--jobs", type=count, default=8, metavar="N", help="devices at a time (default: 8)")
    parser.add_argument(
        "--to",
        type=PurePosixPath,
        metavar="PATH",
        help="its path there (default: its name, in the home folder)",
    )
    parser.add_argument("--python", default="python3", help="what runs the bundle there (default: python3)")
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help="instead of ~/.ssh/config")


def run(options: argparse.Namespace) -> int:
    try:
        from toolchain.deployment import Order, deploy, parse_hosts, read_inventory
    except ImportError as error:
        raise DependencyError(f"deploy needs the package {error.name}: pip install 'toolchain[deploy]'") from error

    if options.ssh_config is not None and not options.ssh_config.is_file():
        raise UsageError(f"--ssh-config {options.ssh_config} is no file")
    listed = read_inventory(options.inventory) if options.inventory else []
    hosts = list(dict.fromkeys([*parse_hosts(options.hosts), *listed]))
    if not hosts:
        raise UsageError("no device is named: write user@host, or give --inventory FILE")
    outcomes = deploy(Order(options.bundle, hosts, options.to, options.python, options.jobs, options.ssh_config))
    passed = all(outcome.passed for outcome in outcomes)
    lines = [
        f"pass  {i.host}: {i.files_sent} of {i.files} files sent ({format_bytes(i.bytes_sent)}), "
        f"selftest passed, {i.seconds:.0f} s"
        if i.passed
        else f"FAIL  {i.host}: {i.error}"
        for i in outcomes
    ]
    result = {"passed": passed, "bundle": str(options.bundle), "hosts": [outcome.as_json() for outcome in outcomes]}
    emit(result, "\n".join(lines), options.json)
    return 0 if passed else 1
