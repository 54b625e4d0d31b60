"""What reaches the device stays within Python 3.8, numpy, and one file each for onnxruntime, TensorRT and Pillow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver.tiny_bundle import ROOT

DRIVER = ROOT / "toolchain/driver"
FILES = [*sorted(DRIVER.rglob("*.py")), ROOT / "toolchain/errors.py", ROOT / "toolchain/__init__.py"]
STANDARD = {
    "argparse", "collections", "contextlib", "ctypes", "dataclasses", "fcntl", "hashlib", "importlib", "json",
    "math", "os", "pathlib", "platform", "re", "signal", "statistics", "subprocess", "sys", "threading",
    "time", "traceback", "typing",
}  # fmt: skip
ONLY_IN = {"onnxruntime": "session_onnxruntime.py", "tensorrt": "session_tensorrt.py", "PIL": "images.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-2:]))
def test_file_parses_as_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-2:]))
def test_file_imports_nothing_else(path: Path) -> None:
    third = {name for name, only in ONLY_IN.items() if path.name == only}
    allowed = STANDARD | {"numpy"} | third
    for name in imported(path):
        inside = name.startswith("toolchain.driver.") or name in ("toolchain", "toolchain.errors")
        assert inside or name.split(".")[0] in allowed, f"{path.name} imports {name}"


def imported(path: Path) -> set[str]:
    return set(_imports(ast.parse(path.read_text())))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            yield str(node.module)
