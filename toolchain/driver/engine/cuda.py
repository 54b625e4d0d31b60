"""CUDA, the only file that knows it: one stream, and memory that an engine and numpy both see.

Through libcudart by ctypes, which needs no package; through cuda-python or pycuda where that is what a device has.
Names and numbers: CUDA Runtime API reference manual; the values of the enumerations are the same in CUDA 10 to 13.
"""

import contextlib
import ctypes
import importlib
import os
from typing import Any, Callable, Dict, Iterator, List, Protocol, Tuple

import numpy as np

from toolchain.errors import EngineError

AUTO, LIBCUDART, CUDA_PYTHON, PYCUDA = "auto", "libcudart", "cuda-python", "pycuda"
LIBRARY_VARIABLE = "TOOLCHAIN_LIBCUDART"
_FOLDER = "/usr/local/cuda/lib64/"
_LIBRARIES = [f"{folder}libcudart.so{end}" for folder in ("", _FOLDER) for end in ("", ".11.0", ".12", ".13")]
_MAPPED, _DEFAULT_DIRECTION = 2, 4  # cudaHostAllocMapped, cudaMemcpyDefault
_PROCESSORS, _INTEGRATED, _CAN_MAP, _MAJOR, _MINOR = 16, 18, 19, 75, 76  # of cudaDeviceAttr


class Buffer:
    """Host memory that the device can reach. array: float32 [elements]; address: where the device finds it."""

    def __init__(self, array: np.ndarray, address: int, free: Callable[[], object]) -> None:
        self.array = array
        self.address = address
        self.free = free


class Cuda(Protocol):
    """Device 0. Every call raises EngineError with CUDA's own words.

    Where CPU and GPU share one memory, as on every Jetson, buffers are mapped: nothing is copied. Elsewhere a buffer is
    pinned host memory and a copy of it on the device: `upload` and `download` start to copy the first elements, and
    `synchronize` waits until that is done. `close` gives the stream back.
    """

    name: str
    stream: int

    @property
    def device(self) -> str:
        """What tells devices apart that need engines of their own, as "Orin, sm_87, 8 multiprocessors"."""
        major, minor, count = (self.attribute(number) for number in (_MAJOR, _MINOR, _PROCESSORS))
        return f"{self.device_name()}, sm_{major}{minor}, {count} multiprocessors"

    @property
    def is_mapped(self) -> bool:
        return bool(self.attribute(_INTEGRATED) and self.attribute(_CAN_MAP))

    def device_name(self) -> str: ...

    def attribute(self, number: int) -> int: ...

    def buffer(self, elements: int) -> Buffer: ...

    def upload(self, buffer: Buffer, elements: int) -> None: ...

    def download(self, buffer: Buffer, elements: int) -> None: ...

    def synchronize(self) -> None: ...

    def close(self) -> None: ...


class _Runtime(Cuda):
    """Through the runtime API; `_get` calls a function that returns a value besides its error, `_do` any other."""

    _either_way: Any = _DEFAULT_DIRECTION

    def __init__(self) -> None:
        self._do("cudaSetDevice", 0)
        self._mapped = self.is_mapped
        self.stream = self._get("cudaStreamCreate")

    def buffer(self, elements: int) -> Buffer:
        with contextlib.ExitStack() as frees:
            host = self._get("cudaHostAlloc", 4 * elements, _MAPPED)
            frees.callback(self._do, "cudaFreeHost", host)
            array = np.ctypeslib.as_array((ctypes.c_float * elements).from_address(host))
            if self._mapped:
                address = self._get("cudaHostGetDevicePointer", host, 0)
            else:
                address = self._get("cudaMalloc", 4 * elements)
                frees.callback(self._do, "cudaFree", address)
            return Buffer(array, address, frees.pop_all().close)

    def upload(self, buffer: Buffer, elements: int) -> None:
        self._copy(buffer.address, buffer.array.ctypes.data, elements)

    def download(self, buffer: Buffer, elements: int) -> None:
        self._copy(buffer.array.ctypes.data, buffer.address, elements)

    def synchronize(self) -> None:
        self._do("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        self._do("cudaStreamDestroy", self.stream)

    def _copy(self, target: int, source: int, elements: int) -> None:
        if not self._mapped:
            self._do("cudaMemcpyAsync", target, source, elements * 4, self._either_way, self.stream)

    def _get(self, name: str, *arguments: Any) -> int:
        raise NotImplementedError

    def _do(self, name: str, *arguments: Any) -> None:
        raise NotImplementedError


_POINTER, _OUT_POINTER, _OUT_INT = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int)
_SIGNATURES: Dict[str, Tuple[Any, ...]] = {
    "cudaSetDevice": (ctypes.c_int,),
    "cudaRuntimeGetVersion": (_OUT_INT,),
    "cudaDeviceGetAttribute": (_OUT_INT, ctypes.c_int, ctypes.c_int),
    "cudaGetDeviceProperties": (_POINTER, ctypes.c_int),
    "cudaStreamCreate": (_OUT_POINTER,),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaStreamDestroy": (_POINTER,),
    "cudaMalloc": (_OUT_POINTER, ctypes.c_size_t),
    "cudaFree": (_POINTER,),
    "cudaHostAlloc": (_OUT_POINTER, ctypes.c_size_t, ctypes.c_uint),
    "cudaHostGetDevicePointer": (_OUT_POINTER, _POINTER, ctypes.c_uint),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_int, _POINTER),
}


class _Libcudart(_Runtime):
    """The C library itself."""

    def __init__(self) -> None:
        self._library = _load_library()
        try:
            for name, kinds in _SIGNATURES.items():
                getattr(self._library, name).argtypes = kinds
        except AttributeError as error:
            raise EngineError(str(error)) from error
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        version = self._get("cudaRuntimeGetVersion")
        self.name = f"libcudart {version // 1000}.{version % 1000 // 10}"
        super().__init__()

    def device_name(self) -> str:
        """cudaDeviceProp begins with `char name[256]`; its length differs from version to version."""
        properties = ctypes.create_string_buffer(8192)
        self._do("cudaGetDeviceProperties", properties, 0)
        return properties.value.decode(errors="replace")

    def attribute(self, number: int) -> int:
        return self._get("cudaDeviceGetAttribute", number, 0)

    def _get(self, name: str, *arguments: Any) -> int:
        result = _SIGNATURES[name][0]._type_()
        self._do(name, ctypes.byref(result), *arguments)
        return int(result.value or 0)

    def _do(self, name: str, *arguments: Any) -> None:
        error = getattr(self._library, name)(*arguments)
        if error:
            words = self._library.cudaGetErrorString(error).decode(errors="replace")
            raise EngineError(f"{name} failed: {words} (CUDA error {error})")


def _load_library() -> Any:
    chosen = os.environ.get(LIBRARY_VARIABLE)
    for name in (chosen,) if chosen else _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise EngineError(f"{chosen or 'libcudart.so'} cannot be loaded")


class _CudaPython(_Runtime):
    """NVIDIA's package; its functions return the error and then the values, and want enumerations as such."""

    def __init__(self) -> None:
        self._cudart = _import("cuda.bindings.runtime", "cuda.cudart")
        self._either_way = self._cudart.cudaMemcpyKind(_DEFAULT_DIRECTION)
        self.name = CUDA_PYTHON
        super().__init__()

    def device_name(self) -> str:
        error, properties = self._cudart.cudaGetDeviceProperties(0)
        self._check("cudaGetDeviceProperties", error)
        return bytes(properties.name).split(b"\0")[0].decode(errors="replace")

    def attribute(self, number: int) -> int:
        return self._get("cudaDeviceGetAttribute", self._cudart.cudaDeviceAttr(number), 0)

    def _get(self, name: str, *arguments: Any) -> int:
        error, *values = getattr(self._cudart, name)(*arguments)
        self._check(name, error)
        return int(values[0])

    def _do(self, name: str, *arguments: Any) -> None:
        self._check(name, getattr(self._cudart, name)(*arguments)[0])

    def _check(self, name: str, error: Any) -> None:
        if int(error):
            raise EngineError(f"{name} failed: {getattr(error, 'name', '')} (CUDA error {int(error)})")


class _PyCuda(Cuda):
    """Through the driver API, in the primary context, which is the one that TensorRT uses, too."""

    def __init__(self) -> None:
        self._driver = _import("pycuda.driver")
        self.name = PYCUDA
        with self._errors():
            self._driver.init()
            self._device = self._driver.Device(0)
            self._primary = self._device.retain_primary_context()
        with self._current():
            self._stream = self._driver.Stream()
        self.stream = int(self._stream.handle)
        self._mapped = self.is_mapped
        self._copies: Dict[int, Any] = {}

    def device_name(self) -> str:
        return str(self._device.name())

    def attribute(self, number: int) -> int:
        if number in (_MAJOR, _MINOR):
            return int(self._device.compute_capability()[number - _MAJOR])
        names = {_PROCESSORS: "MULTIPROCESSOR_COUNT", _INTEGRATED: "INTEGRATED", _CAN_MAP: "CAN_MAP_HOST_MEMORY"}
        return int(self._device.get_attribute(getattr(self._driver.device_attribute, names[number])))

    def buffer(self, elements: int) -> Buffer:
        flags = self._driver.host_alloc_flags.DEVICEMAP
        with self._current():
            array = self._driver.pagelocked_empty(elements, np.float32, mem_flags=flags)
            if self._mapped:
                return Buffer(array, int(array.base.get_device_pointer()), lambda: None)
            copy = self._driver.mem_alloc(array.nbytes)
        self._copies[int(copy)] = copy
        return Buffer(array, int(copy), lambda: self._copies.pop(int(copy)).free())

    def upload(self, buffer: Buffer, elements: int) -> None:
        if not self._mapped:
            with self._current():
                self._driver.memcpy_htod_async(buffer.address, buffer.array[:elements], self._stream)

    def download(self, buffer: Buffer, elements: int) -> None:
        if not self._mapped:
            with self._current():
                self._driver.memcpy_dtoh_async(buffer.array[:elements], buffer.address, self._stream)

    def synchronize(self) -> None:
        with self._current():
            self._stream.synchronize()

    def close(self) -> None:
        self._copies.clear()

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Contexts belong to threads: this one's, for as long as the block runs."""
        with self._errors():
            self._primary.push()
            try:
                yield
            finally:
                self._primary.pop()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise EngineError(f"pycuda failed: {error}") from error


_PACKAGES: Dict[str, Callable[[], Cuda]] = {LIBCUDART: _Libcudart, CUDA_PYTHON: _CudaPython, PYCUDA: _PyCuda}
CHOICES = (AUTO, *_PACKAGES)


def open_cuda(choice: str = AUTO) -> Cuda:
    """The first way to CUDA that works, or the chosen one. Raises EngineError that says why each of them does not."""
    reasons: List[str] = []
    for name in _PACKAGES if choice == AUTO else (choice,):
        try:
            return _PACKAGES[name]()
        except EngineError as error:
            reasons.append(f"{name}: {error}")
    raise EngineError(f"CUDA cannot be used here ({'; '.join(reasons)})")


def _import(*names: str) -> Any:
    """The first module that can be imported."""
    problem = ""
    for name in names:
        try:
            return importlib.import_module(name)
        except Exception as error:  # pycuda.driver and older cuda-python fail in many ways without a driver
            problem = problem or str(error)
    raise EngineError(f"{names[0]} cannot be imported ({problem})")
