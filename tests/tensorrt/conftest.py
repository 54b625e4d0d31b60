"""The stand-ins for TensorRT and libcudart, in this process for as long as a test wants them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.driver.tiny_bundle import make_bundle
from tests.tensorrt.compiler import CUDART, compile_library

STAND_IN = Path(__file__).parent / "stand_in"
BOUND = ("session_tensorrt", "plan", "live")
"""The modules of the driver that import TensorRT."""

Use = Callable[..., Any]


@pytest.fixture(scope="session")
def cudart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for libcudart."""
    return compile_library(CUDART, tmp_path_factory.mktemp("cudart") / "libcudart.so", "-lpthread")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes."""
    return make_bundle(tmp_path_factory.mktemp("shipped") / "tiny")


@pytest.fixture
def stand_in(cudart: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Use]:
    """use(version, integrated): the module `tensorrt`, as it is imported from then on."""
    monkeypatch.setenv("TOOLCHAIN_LIBCUDART", str(cudart))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(STAND_IN))

    def use(version: str = "8.5.2", integrated: bool = True) -> ModuleType:
        import importlib

        monkeypatch.setenv("TENSORRT_STAND_IN", version)
        monkeypatch.setenv("CUDART_INTEGRATED", str(int(integrated)))
        _forget()
        return importlib.import_module("tensorrt")

    yield use
    _forget()


def _forget() -> None:
    bound = tuple(f"toolchain.driver.engine.{name}" for name in BOUND)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt" or name in bound]:
        del sys.modules[name]
