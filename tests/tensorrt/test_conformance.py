"""What the driver uses of TensorRT exists in the genuine Python bindings of 8.6.1 and 10.3.

Bindings can be installed without the libraries that they need, and load with a C file in their place that defines the
symbols; no object can be made then, so this is about names and nothing else.
"""

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver.tiny_bundle import ROOT
from tests.tensorrt.compiler import compile_library

ENVIRONMENT = ROOT / ".venv/tensorrt"
SOURCE = ROOT / "toolchain/driver/engine/session_tensorrt.py"
STUB = Path(__file__).parent / "runtime" / "nvinfer.c"
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvparsers", "libnvinfer_plugin")

LOAD = """
import sys, tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from toolchain.driver.engine import session_tensorrt
print(session_tensorrt.VERSION)
for path in sys.argv[1:]:
    found = tensorrt_bindings
    for name in path.split("."):
        found = getattr(found, name, None)
    if found is None:
        print(path)
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a stub under each name that the bindings load."""
    folder = tmp_path_factory.mktemp("libraries")
    stub = compile_library(STUB, folder / "stub.so")
    for name in LIBRARIES:
        for major in ("8", "10"):
            (folder / f"{name}.so.{major}").symlink_to(stub)
    return folder


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_everything_that_the_driver_uses_exists(libraries: Path, version: str) -> None:
    used = sorted(set(attributes(SOURCE.read_text())))
    assert {"Refitter.set_named_weights", "IExecutionContext.execute_async_v3", "BuilderFlag.REFIT"} <= set(used)
    assert len(used) > 40
    assert missing(libraries, version, used) == []


@pytest.mark.parametrize(
    ("version", "absent"), [("8.6.1", "Refitter.refit_cuda_engine_async"), ("10.3.0", "ICudaEngine.num_bindings")]
)
def test_what_a_version_lacks_is_noticed(libraries: Path, version: str, absent: str) -> None:
    assert missing(libraries, version, [absent, "Refitter"]) == [absent]


def test_every_use_is_found() -> None:
    source = """
import tensorrt
def f(a: "tensorrt.Builder", b: int):
    c: tensorrt.Runtime = a.make(tensorrt.BuilderFlag.REFIT)
    self.engine: "tensorrt.ICudaEngine" = c.deserialize(b.real)
def g():
    return self.engine.refittable
"""
    assert sorted(attributes(source)) == [
        "Builder", "Builder.make", "BuilderFlag", "BuilderFlag.REFIT", "ICudaEngine", "ICudaEngine.refittable",
        "Runtime", "Runtime.deserialize",
    ]  # fmt: skip


def missing(libraries: Path, version: str, paths: list[str]) -> list[str]:
    """Those that the bindings of this version lack; the driver's own file is imported with them, too."""
    bindings = ENVIRONMENT / version
    if not bindings.exists():
        pytest.skip(f"`make tensorrt` installs the bindings of TensorRT {version}")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": f"{bindings}:{ROOT}"}
    command = [str(ENVIRONMENT / "bin/python"), "-c", LOAD, *paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, *absent = done.stdout.split()
    assert found == version
    return absent


def attributes(source: str) -> Iterator[str]:
    """Every `tensorrt.A.B`, and `A.b` for every use of b on what is annotated as tensorrt.A."""
    tree = ast.parse(source)
    annotated = dict(_annotations(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            if path.startswith("tensorrt."):
                yield path.removeprefix("tensorrt.")
            elif ast.unparse(node.value) in annotated:
                yield f"{annotated[ast.unparse(node.value)]}.{node.attr}"
        elif isinstance(node, ast.Constant) and str(node.value).startswith("tensorrt."):
            yield str(node.value).removeprefix("tensorrt.")


def _annotations(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each variable or argument, and its class of TensorRT."""
    for node in ast.walk(tree):
        named = {ast.arg: "arg", ast.AnnAssign: "target"}.get(type(node))
        if named and getattr(node, "annotation", None) is not None:
            kind = ast.unparse(node.annotation).strip("'\"")  # type: ignore[attr-defined]
            target = getattr(node, named)
            if kind.startswith("tensorrt."):
                yield target if isinstance(target, str) else ast.unparse(target), kind.removeprefix("tensorrt.")
