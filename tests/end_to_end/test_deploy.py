"""Deployment to real SSH servers, and what it does when one of them fails."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncssh")
import asyncssh

from tests.end_to_end import sshd
from tests.end_to_end.conftest import DEVICE_PYTHON, Run
from tests.end_to_end.sshd import Device
from toolchain.deployment.device import Answer
from toolchain.deployment.device import Device as Connected
from toolchain.driver.bundle import Bundle, sha256_of
from toolchain.driver.manifest import read_manifest
from toolchain.stages.bundle import seal

pytestmark = pytest.mark.skipif(not sshd.SSHD.exists(), reason="no sshd to deploy to: `make debian` fetches one")
Deploy = Callable[..., tuple[int, dict[str, Any]]]
NAME = "resnet20"


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    """Two, and the files of a user who knows both."""
    client = sshd.make_key(tmp_path / "client")
    with ExitStack() as stack:
        found = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            found.append(stack.enter_context(sshd.running(tmp_path / name, client)))
        known = tmp_path / "known_hosts"
        known.write_text("".join(device.known for device in found))
        (tmp_path / "ssh_config").write_text(f"IdentityFile {client}\nUserKnownHostsFile {known}\n")
        yield found


@pytest.fixture
def bundle(cifar: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cifar, tmp_path / NAME))


@pytest.fixture
def deploy(toolchain: Run, tmp_path: Path) -> Deploy:
    (tmp_path / "ssh_config").touch()

    def run(bundle: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
        chosen = ("--python", str(DEVICE_PYTHON), "--ssh-config", str(tmp_path / "ssh_config"), "--json")
        done = toolchain("deploy", str(bundle), *arguments, *chosen)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def addresses(devices: Sequence[Device]) -> str:
    return ",".join(device.address for device in devices)


def altered(bundle: Path) -> Path:
    """Another version of it: one file more, one changed, both of no consequence for what it computes."""
    (bundle / "requirements.txt").write_text("numpy\nonnxruntime\n")
    (bundle / "notes.bin").write_bytes(bytes(range(256)) * 4096)
    seal(bundle, read_manifest(bundle / "manifest.json"))
    return bundle


def is_whole(folder: Path, identity: str) -> bool:
    bundle = Bundle(folder)
    return bundle.identity == identity and not any(differs for _, differs in bundle.altered_files())


def test_only_what_changed_is_sent_and_the_other_version_stays(
    devices: list[Device], bundle: Path, deploy: Deploy
) -> None:
    code, first = deploy(bundle, addresses(devices))
    assert code == 0, first
    assert first["passed"] and all(host["files_sent"] == host["files"] > 20 for host in first["hosts"])
    assert all(host["selftest"]["passed"] for host in first["hosts"])
    before = Bundle(bundle).identity
    assert all(is_whole(device.home / NAME, before) for device in devices)

    code, second = deploy(altered(bundle), addresses(devices))
    assert code == 0, second
    assert all(host["files_sent"] == 3 for host in second["hosts"]), "two files and the manifest"
    assert all(is_whole(device.home / NAME, Bundle(bundle).identity) for device in devices)
    versions = [sorted(path.name[:12] for path in versions_of(device)) for device in devices]
    assert versions == [sorted([before[:12], Bundle(bundle).identity[:12]])] * 2

    code, third = deploy(bundle, addresses(devices))
    assert code == 0 and all(host["bytes_sent"] == 0 and host["selftest"] for host in third["hosts"])


def test_one_that_fails_midway_keeps_its_bundle_and_the_other_completes(
    devices: list[Device], bundle: Path, deploy: Deploy, tmp_path: Path
) -> None:
    assert deploy(bundle, addresses(devices))[0] == 0
    before = Bundle(bundle).identity
    devices[1].break_after(20)
    inventory = tmp_path / "inventory"
    inventory.write_text(f"# the laboratory\n{devices[0].address}\n{devices[1].address}  # at the window\n")

    code, result = deploy(altered(bundle), "--inventory", str(inventory))
    assert code == 1 and not result["passed"]
    completed, failed = result["hosts"]
    assert completed["passed"] and is_whole(devices[0].home / NAME, Bundle(bundle).identity)
    assert failed["host"] == devices[1].address and failed["error"]["kind"] == "DeployError"
    assert "connection was lost" in failed["error"]["message"] and 0 < failed["bytes_sent"] < 1 << 20
    assert is_whole(devices[1].home / NAME, before)

    devices[1].break_after(None)
    code, result = deploy(bundle, "--inventory", str(inventory))
    assert code == 0 and is_whole(devices[1].home / NAME, Bundle(bundle).identity)


def test_a_bundle_that_fails_its_selftest_is_not_put_in_place(
    devices: list[Device], bundle: Path, deploy: Deploy
) -> None:
    device = devices[0]
    assert deploy(bundle, device.address)[0] == 0
    before = Bundle(bundle).identity
    (bundle / "driver/toolchain/driver/selftest.py").write_text("raise SystemExit('broken')\n")
    seal(bundle, read_manifest(bundle / "manifest.json"))
    code, result = deploy(bundle, device.address)
    assert code == 1 and "broken" in result["hosts"][0]["error"]["message"]
    assert is_whole(device.home / NAME, before)
    assert len(versions_of(device)) == 1, "what failed is removed"


def test_a_bundle_that_was_copied_by_hand_is_replaced(devices: list[Device], bundle: Path, deploy: Deploy) -> None:
    device = devices[0]
    shutil.copytree(bundle, device.home / "here")
    (device.home / "here/requirements.txt").write_text("torn")
    code, result = deploy(bundle, device.address, "--to", "here")
    assert code == 0 and result["hosts"][0]["files_sent"] == 1
    assert is_whole(device.home / "here", Bundle(bundle).identity)


def test_another_folder_is_left_alone(devices: list[Device], bundle: Path, deploy: Deploy) -> None:
    device = devices[0]
    (device.home / NAME).mkdir()
    (device.home / NAME / "thesis.txt").write_text("years of work")
    code, result = deploy(bundle, device.address)
    assert code == 1 and "not a bundle" in result["hosts"][0]["error"]["message"]
    assert [path.name for path in device.home.rglob("*") if path.is_file()] == ["thesis.txt"]


def test_a_command_that_ends_before_it_reads_is_no_lost_connection(devices: list[Device], tmp_path: Path) -> None:
    """As the comparison with a folder that is not there, while another device keeps this process busy."""

    async def keep_busy() -> None:
        for _ in range(30):
            time.sleep(0.02)
            await asyncio.sleep(0)

    async def ask() -> tuple[Answer, None]:
        address = {"port": devices[0].port, "username": sshd.USER, "config": [tmp_path / "ssh_config"]}
        async with asyncssh.connect("127.0.0.1", **address) as connection:
            return await asyncio.gather(Connected(connection).ask("false", input="name\0" * 100), keep_busy())

    assert asyncio.run(ask())[0].code == 1


def test_an_unknown_host_key_is_refused(devices: list[Device], bundle: Path, deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text(devices[0].known)
    code, result = deploy(bundle, addresses(devices))
    assert code == 1 and result["hosts"][0]["passed"]
    message = result["hosts"][1]["error"]["message"]
    assert "host key is unknown" in message and f"ssh -p {devices[1].port} " in message
    assert not list(devices[1].home.iterdir())


def test_who_is_not_let_in_or_finds_nobody_is_told(
    devices: list[Device], bundle: Path, deploy: Deploy, tmp_path: Path
) -> None:
    stranger = sshd.make_key(tmp_path / "stranger")
    (tmp_path / "ssh_config").write_text(f"IdentityFile {stranger}\nUserKnownHostsFile {tmp_path / 'known_hosts'}\n")
    code, result = deploy(bundle, f"{devices[0].address},{sshd.USER}@127.0.0.1:1")
    assert code == 1
    assert "ssh-copy-id" in result["hosts"][0]["error"]["message"]
    assert "cannot be reached" in result["hosts"][1]["error"]["message"]
    sshd.make_key(tmp_path / "locked", "secret")
    configuration = (tmp_path / "ssh_config").read_text()
    (tmp_path / "ssh_config").write_text(configuration.replace("stranger", "locked"))
    _, result = deploy(bundle, devices[0].address)
    assert "ssh-add" in result["hosts"][0]["error"]["message"]


def test_an_altered_bundle_is_not_sent(bundle: Path, deploy: Deploy) -> None:
    content = (bundle / "requirements.txt").read_bytes()
    (bundle / "requirements.txt").write_bytes(content[::-1])
    code, result = deploy(bundle, "nobody@127.0.0.1:1")
    assert code == 1 and "SHA-256" in result["error"]["message"]


def versions_of(device: Device) -> list[Path]:
    return list((device.home / f".{NAME}.versions").iterdir())


def test_the_comparison_of_bundles_notices_a_changed_byte(bundle: Path) -> None:
    """The negative control of what these tests rest on."""
    identity = sha256_of(bundle / "manifest.json")
    assert is_whole(bundle, identity)
    name = bundle / "parameters.safetensors"
    content = bytearray(name.read_bytes())
    content[-1] ^= 1
    name.write_bytes(content)
    assert not is_whole(bundle, identity)
