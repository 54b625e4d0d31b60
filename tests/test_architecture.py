"""The folders keep to what they may know of each other, and the device and `--help` stay clear of torch."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("toolchain", "graphs", "targets")
SOURCES = {".py", ".c", ".h", ".sh", ".toml"}
MOST_LINES = 300
ONE_MACHINE = re.compile(rb"/(tmp|work|home|root)/|pypi\.org|pythonhoste[d]|npmjs\.org|deb\.debian")

NEED_TENSORRT = {f"toolchain.driver.engine.{name}" for name in ("session_tensorrt", "plan", "live")}
"""Imported where it is; tests/tensorrt imports them with a stand-in."""

IMPORT_WITHOUT_HOST = """
import importlib, sys
class Ban:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "graphs", "targets"}:
            raise ImportError(f"{name} is the host's")
sys.meta_path.insert(0, Ban)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

RUN_AND_FIND_TORCH = """
import runpy, sys
try:
    runpy.run_module("toolchain.cli.main", run_name="__main__", alter_sys=True)
except SystemExit as done:
    sys.exit(done.code or ("it loads torch" if "torch" in sys.modules else 0))
"""


def modules(folder: str) -> list[str]:
    """The dotted names of all modules below a folder."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / folder).rglob("*.py"))
    return sorted({".".join(path.parts).removesuffix(".__init__") for path in paths} - NEED_TENSORRT)


def commands() -> Iterator[str]:
    """Each command is the module of its name, with run(options)."""
    for path in sorted((ROOT / "toolchain/cli").glob("*.py")):
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in ast.parse(path.read_text()).body):
            yield path.stem


def files() -> list[Path]:
    """Whatever a commit would hold."""
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh process."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_imports_keep_the_contracts() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_driver_loads_without_the_packages_of_the_host() -> None:
    done = python(IMPORT_WITHOUT_HOST, "toolchain.errors", *modules("toolchain/driver"))
    assert done.returncode == 0, done.stderr


def test_the_packages_of_the_host_are_noticed() -> None:
    done = python(IMPORT_WITHOUT_HOST, "toolchain.models.checkpoint")
    assert "ImportError: torch is the host's" in done.stderr


@pytest.mark.parametrize("command", list(commands()))
def test_help_appears_without_torch(command: str) -> None:
    done = python(RUN_AND_FIND_TORCH, command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"toolchain {command}" in done.stdout


@pytest.mark.parametrize("name", [name for package in PACKAGES for name in modules(package)])
def test_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_files_are_short() -> None:
    sources = [path for path in files() if path.suffix in SOURCES]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_files_name_no_machine_and_no_registry() -> None:
    found = {str(path.relative_to(ROOT)): ONE_MACHINE.findall(path.read_bytes()) for path in files()}
    assert not {name: places for name, places in found.items() if places}
