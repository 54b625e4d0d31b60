"""Arguments and results of libcudart, on a C stand-in for it."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolchain.driver.cuda import open_cuda
from toolchain.errors import EngineError


@pytest.fixture(params=[True, False], ids=["integrated", "discrete"])
def integrated(request: pytest.FixtureRequest, stand_in: Callable[..., Any]) -> bool:
    stand_in("8.5.2", request.param)
    return bool(request.param)


def device_floats(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def library() -> Any:
    return ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"])


def test_device_is_described(integrated: bool) -> None:
    cuda = open_cuda("libcudart")
    assert (cuda.name, cuda.device) == ("libcudart 11.4", "Stand-in, sm_72, 6 multiprocessors")
    assert cuda.is_mapped is integrated


def test_numbers_reach_the_device_and_come_back(integrated: bool) -> None:
    cuda = open_cuda("libcudart")
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


def test_without_any_cuda_every_way_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLCHAIN_LIBCUDART", "libcudart-that-is-not-there.so")
    with pytest.raises(EngineError) as caught:
        open_cuda()
    assert all(way in str(caught.value) for way in ("libcudart-that", "cuda-python: ", "pycuda: "))
