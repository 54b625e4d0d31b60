"""As pycuda.driver: most of it fails in a thread in which no context is current."""

import ctypes
import enum
import os
import threading
from typing import Any

import numpy as np

_current = threading.local()


class Error(Exception):
    pass


class device_attribute(enum.IntEnum):  # noqa: N801
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19


class host_alloc_flags(enum.IntEnum):  # noqa: N801
    DEVICEMAP = 2


def _call(name: str, *arguments: Any) -> None:
    if getattr(_current, "depth", 0) < 1:
        raise Error(f"{name} failed: invalid device context")
    code = getattr(ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"]), name)(*arguments)
    if code:
        raise Error(f"{name} failed: error {code}")


def _made(name: str, *arguments: Any) -> int:
    result = ctypes.c_void_p()
    _call(name, ctypes.byref(result), *arguments)
    return int(result.value or 0)


def init() -> None:
    pass


class Context:
    def push(self) -> None:
        _current.depth = getattr(_current, "depth", 0) + 1

    @staticmethod
    def pop() -> None:
        _current.depth -= 1


class Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> str:
        return "Stand-in"

    def compute_capability(self) -> tuple[int, int]:
        return 7, 2

    def get_attribute(self, attribute: device_attribute) -> int:
        integrated = os.environ["CUDART_INTEGRATED"] == "1"
        return {16: 6, 18: int(integrated), 19: 1}[attribute]

    def retain_primary_context(self) -> Context:
        return Context()


class Stream:
    def __init__(self) -> None:
        self.handle = _made("cudaStreamCreate")

    def synchronize(self) -> None:
        _call("cudaStreamSynchronize", ctypes.c_void_p(self.handle))


class _Host:
    """What owns the memory of a page-locked array."""

    def __init__(self, elements: int) -> None:
        self.address = _made("cudaHostAlloc", ctypes.c_size_t(4 * elements), host_alloc_flags.DEVICEMAP)
        self.__array_interface__ = {"data": (self.address, False), "shape": (elements,), "typestr": "<f4", "version": 3}

    def get_device_pointer(self) -> int:
        return _made("cudaHostGetDevicePointer", ctypes.c_void_p(self.address), 0)


def pagelocked_empty(shape: int, dtype: Any, mem_flags: int = 0) -> np.ndarray:
    assert dtype == np.float32 and mem_flags == host_alloc_flags.DEVICEMAP
    return np.asarray(_Host(shape))


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self._address = _made("cudaMalloc", ctypes.c_size_t(size))

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        _call("cudaFree", ctypes.c_void_p(self._address))


def mem_alloc(size: int) -> DeviceAllocation:
    return DeviceAllocation(size)


def memcpy_htod_async(dest: int, src: np.ndarray, stream: Stream) -> None:
    _copy(dest, src.ctypes.data, src.nbytes, stream)


def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Stream) -> None:
    _copy(dest.ctypes.data, src, dest.nbytes, stream)


def _copy(target: int, source: int, size: int, stream: Stream) -> None:
    pointers = ctypes.c_void_p(target), ctypes.c_void_p(source)
    _call("cudaMemcpyAsync", *pointers, ctypes.c_size_t(size), 4, ctypes.c_void_p(stream.handle))
