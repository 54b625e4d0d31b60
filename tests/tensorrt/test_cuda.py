"""The ways to CUDA, on a C stand-in for libcudart; libcudart and cuda-python themselves as far as they go here."""

import ctypes
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver.tiny_bundle import ROOT
from toolchain.driver.engine import cuda as adapter
from toolchain.driver.engine.cuda import Cuda, open_cuda
from toolchain.errors import EngineError

TENSORRT = ROOT / ".venv/tensorrt"
PYTHON = TENSORRT / "bin/python"

WITHOUT_GPU = """
from cuda.bindings import runtime
from toolchain.driver.engine.cuda import _SIGNATURES, open_cuda
from toolchain.errors import EngineError
direction, attribute = runtime.cudaMemcpyKind(4), runtime.cudaDeviceAttr(18)
calls = {
    "cudaSetDevice": (0,), "cudaRuntimeGetVersion": (), "cudaDeviceGetAttribute": (attribute, 0),
    "cudaGetDeviceProperties": (0,), "cudaStreamCreate": (), "cudaStreamSynchronize": (1,), "cudaStreamDestroy": (1,),
    "cudaMalloc": (16,), "cudaFree": (1,), "cudaHostAlloc": (16, 2), "cudaHostGetDevicePointer": (1, 0),
    "cudaFreeHost": (1,), "cudaMemcpyAsync": (1, 2, 4, direction, 5),
}
assert calls.keys() == _SIGNATURES.keys()
for name, arguments in calls.items():
    error, *values = getattr(runtime, name)(*arguments)
    assert isinstance(error, runtime.cudaError_t) and len(values) < 2, name
try:
    open_cuda("cuda-python")
except EngineError as error:
    print(error)
"""


@pytest.fixture(params=[True, False], ids=["integrated", "discrete"])
def integrated(request: pytest.FixtureRequest, stand_in: Callable[..., Any]) -> bool:
    stand_in("8.5.2", request.param)
    return bool(request.param)


@pytest.fixture(params=["libcudart", "cuda-python", "pycuda"])
def cuda(request: pytest.FixtureRequest, integrated: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", CudaPython())
    yield open_cuda(request.param)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        del sys.modules[name]


class CudaPython(types.ModuleType):
    """A stand-in for cuda-python: functions return the error and then what C returns through its first argument."""

    cudaDeviceAttr = cudaMemcpyKind = staticmethod(int)  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")

    def __getattr__(self, name: str) -> Any:
        kinds = adapter._SIGNATURES[name]
        function = getattr(library(), name)
        function.argtypes = kinds
        if name == "cudaGetDeviceProperties":
            return lambda device: (0, types.SimpleNamespace(name=b"Stand-in\0"))
        if not hasattr(kinds[0], "_type_") or kinds[0] in (ctypes.c_void_p, ctypes.c_int):
            return lambda *arguments: (function(*arguments),)

        def call(*arguments: Any) -> tuple[int, Any]:
            result = kinds[0]._type_()
            return function(ctypes.byref(result), *arguments), result.value

        return call


def device_floats(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def library() -> Any:
    return ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"])


def test_device_is_described(cuda: Cuda, integrated: bool) -> None:
    assert cuda.name in ("libcudart 11.4", "cuda-python", "pycuda")
    assert cuda.device == "Stand-in, sm_72, 6 multiprocessors"
    assert cuda.is_mapped is integrated


def test_numbers_reach_the_device_and_come_back(cuda: Cuda, integrated: bool) -> None:
    buffer = cuda.buffer(1000)
    buffer.array[:] = np.arange(1000)
    cuda.upload(buffer, 600)
    cuda.synchronize()
    assert buffer.address != buffer.array.ctypes.data
    seen = device_floats(buffer.address, 1000)
    np.testing.assert_array_equal(seen, np.arange(1000) if integrated else [*range(600), *[0] * 400])
    seen[:3] = 7
    cuda.download(buffer, 2)
    cuda.synchronize()
    np.testing.assert_array_equal(buffer.array[:4], [7, 7, 7 if integrated else 2, 3])


def test_any_thread_may_use_it(cuda: Cuda) -> None:
    """Contexts of the driver API belong to threads."""
    found: list[float] = []

    def use() -> None:
        buffer = cuda.buffer(4)
        buffer.array[:] = 5
        cuda.upload(buffer, 4)
        cuda.synchronize()
        found.append(float(device_floats(buffer.address, 4)[3]))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [5]


def test_memory_and_stream_are_given_back(integrated: bool) -> None:
    cuda = open_cuda("libcudart")
    before = library().standin_blocks()
    buffer = cuda.buffer(10)
    assert library().standin_blocks() > before
    buffer.free()
    assert library().standin_blocks() == before
    cuda.close()
    with pytest.raises(EngineError, match="cudaStreamSynchronize failed: invalid resource handle"):
        cuda.synchronize()


@pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaStreamCreate", "cudaSetDevice"])
def test_errors_come_in_cudas_words(integrated: bool, function: str) -> None:
    library().standin_fail(function.encode(), 0, 2)
    with pytest.raises(EngineError, match=rf"{function} failed: out of memory \(CUDA error 2\)"):
        open_cuda("libcudart").buffer(5)


def test_errors_of_every_way_are_engine_errors(cuda: Cuda) -> None:
    library().standin_fail(b"cudaHostAlloc", 0, 2)
    with pytest.raises(EngineError, match="cudaHostAlloc failed"):
        cuda.buffer(5)


def test_without_any_cuda_every_way_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLCHAIN_LIBCUDART", "libcudart-that-is-not-there.so")
    with pytest.raises(EngineError) as caught:
        open_cuda()
    assert all(way in str(caught.value) for way in ("libcudart-that", "cuda-python: ", "pycuda: "))


def test_cuda_python_itself_takes_the_arguments() -> None:
    """Without a driver each of its functions returns an error, and raises for arguments that it does not take."""
    if not PYTHON.exists():
        pytest.skip("`make tensorrt` installs cuda-python")
    if Path("/dev/nvidia0").exists():
        pytest.skip("with a GPU these calls would do something")
    environment, command = {**os.environ, "PYTHONPATH": str(ROOT)}, [str(PYTHON), "-c", WITHOUT_GPU]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cudaSetDevice failed: " in done.stdout


@pytest.mark.parametrize("release", ["cu11", "cu12"])
def test_libcudart_itself_has_every_function(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every symbol is looked up before the first call; without a driver that returns an error, in CUDA's words."""
    found = list((TENSORRT / f"cudart-{release}").rglob("libcudart.so.*"))
    if not found:
        pytest.skip("`make tensorrt` installs CUDA's library")
    if Path("/dev/nvidia0").exists():
        pytest.skip("with a GPU there is no error")
    monkeypatch.setenv("TOOLCHAIN_LIBCUDART", str(found[0]))
    with pytest.raises(EngineError, match=r"cuda\w+ failed: CUDA driver version is insufficient .+ \(CUDA error 35\)"):
        open_cuda("libcudart")


def test_function_that_libcudart_lacks_is_noticed(integrated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapter._SIGNATURES, "cudaOfTomorrow", (ctypes.c_int,))
    with pytest.raises(EngineError, match="cudaOfTomorrow"):
        open_cuda("libcudart")
