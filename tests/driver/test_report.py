"""What `selftest` finds out beside its checks: the machine, its engine, times, memory and power."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from toolchain.driver.board import describe_board, parse_power, power_drawn, summarise_power
from toolchain.driver.main import main

XAVIER_NX = (
    "01-01-2024 10:00:00 RAM 2448/6860MB (lfb 12x4MB) SWAP 0/3430MB (cached 0MB) CPU [2%@1190,off,off] "
    "EMC_FREQ 0% GR3D_FREQ 0% AUX@33C VDD_IN 4996mW/4980mW VDD_CPU_GPU_CV 1128mW/1078mW VDD_SOC 1422mW/1413mW"
)
TEGRASTATS = """#!/bin/sh
while true; do echo "RAM 1/2MB VDD_IN 5000mW/5000mW"; echo "RAM 1/2MB VDD_IN 7000mW/6000mW"; sleep 0.01; done
"""


def reported(bundle: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(str(bundle), ["selftest", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def tegrastats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of this name, which does not end by itself."""
    program = tmp_path / "bin/tegrastats"
    program.parent.mkdir()
    program.write_text(TEGRASTATS)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_report_is_what_is_printed(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = reported(shipped, capsys, "--report", str(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text()) == printed
    assert printed["engine_error"] is None and printed["bundle"]["model"] == "tiny"
    assert {"engine: recorded logits", "engine: adapted logits"} <= {check["name"] for check in printed["checks"]}
    measured = printed["measured"]
    assert measured["engine"].startswith("onnxruntime")
    assert 0 < measured["latency_ms"]["p50"] <= measured["latency_ms"]["p99"] and measured["resident_bytes"] > 1 << 20
    assert measured["step_seconds"] > 0 and measured["refit_seconds"] > 0


def test_report_that_cannot_be_written_is_an_error(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(str(shipped), ["selftest", "--report", str(tmp_path / "missing/report.json")]) == 2
    assert "choose another file" in capsys.readouterr().err


@pytest.mark.usefixtures("tegrastats")
def test_power_is_that_of_tegrastats(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = reported(shipped, capsys)["measured"]["power"]["VDD_IN"]
    assert 5000 <= drawn["mean_mw"] <= drawn["max_mw"] <= 7000


def test_without_tegrastats_no_power_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with power_drawn() as rails:
        pass
    assert summarise_power(rails) == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (XAVIER_NX, {"VDD_IN": 4996, "VDD_CPU_GPU_CV": 1128, "VDD_SOC": 1422}),
        ("RAM 891/3956MB IRAM 0/252kB PLL@25C POM_5V_IN 1600/1580 POM_5V_GPU 40/30",
            {"POM_5V_IN": 1600, "POM_5V_GPU": 40}),
        ("RAM 9/30GB GR3D_FREQ 99%@[1300]", {}),
    ],
    ids=["jetpack-5", "jetpack-4", "no-rails"],
)  # fmt: skip
def test_rails_are_found_among_memory_and_clocks(line: str, expected: dict[str, int]) -> None:
    assert parse_power(line) == expected


def test_board_is_described() -> None:
    found = describe_board()
    assert found["processors"] == os.cpu_count() and found["memory_bytes"] > 1 << 28
