"""ONNX Runtime, the only file that imports it."""

import ctypes
import os
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NoReturn, Optional, Sequence, Union

import numpy as np
import onnxruntime

from toolchain.errors import BundleError, InternalError, ToolchainError

VERSION: str = onnxruntime.__version__
_PROVIDERS = ["CPUExecutionProvider"]


class StepSession:
    """A graph run in its file order, each buffer freed after its last reader, outputs placed where the caller says."""

    def __init__(self, path: Path, threads: Optional[int], kernels: Optional[Path] = None) -> None:
        """kernels: the library of the graph's own operators. Raises BundleError."""
        options = _step_options(threads)
        self._return_memory: Callable[[], None] = lambda: None
        if kernels is not None:
            _register(options, kernels)
            self._return_memory = ctypes.CDLL(str(kernels)).toolchain_return_memory
        self._session = _open(str(path), options, path)

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        placed: Mapping[str, np.ndarray],
        fetched: Sequence[str],
    ) -> Dict[str, np.ndarray]:
        """Run once. Outputs in `placed` are written into the arrays given; an array that is an input too is updated.

        Other outputs named in `fetched` are returned. An error leaves the placed arrays undefined.
        """
        binding = self._session.io_binding()
        owned = {id(array): share(array) for array in (*inputs.values(), *placed.values())}
        for name in fetched:
            binding.bind_output(name, "cpu")
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, owned[id(array)])
        for name, array in placed.items():
            binding.bind_ortvalue_output(name, owned[id(array)])
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            _explain_failure(error)
        finally:
            self._return_memory()
        return {name: value.numpy() for name, value in zip(fetched, binding.get_outputs())}


class InferSession:
    """A graph run with every optimisation on."""

    def __init__(self, model: bytes, path: Path, threads: Optional[int]) -> None:
        """model: content of an ONNX file; path: where it came from, for messages."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = _count(threads)
        self._session = _open(model, options, path)

    def run(self, input_name: str, images: np.ndarray, output_name: str) -> np.ndarray:
        """Output [N, …] for images [N, C, H, W]."""
        try:
            return np.asarray(self._session.run([output_name], {input_name: images})[0])
        except Exception as error:
            _explain_failure(error)


def share(array: np.ndarray) -> Any:
    """An OrtValue over the memory of a C-contiguous array, no copy."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    if array.size and value.data_ptr() != array.ctypes.data:
        raise InternalError(f"onnxruntime {VERSION} copies a tensor of shape {array.shape} instead of sharing it")
    return value


def _step_options(threads: Optional[int]) -> Any:
    """Settings that keep file order and free every buffer at once; any other keeps several times the memory."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = _count(threads)
    options.inter_op_num_threads = 1
    return options


def _register(options: Any, kernels: Path) -> None:
    try:
        options.register_custom_ops_library(str(kernels))
    except Exception as error:
        raise BundleError(f"{kernels} cannot be loaded ({error}): use --operators portable") from error


def _count(threads: Optional[int]) -> int:
    """As many threads as asked for, else one for each processor."""
    return threads or os.cpu_count() or 1


def _open(model: Union[str, bytes], options: Any, path: Path) -> Any:
    try:
        return onnxruntime.InferenceSession(model, options, providers=_PROVIDERS)
    except Exception as error:
        raise BundleError(
            f"onnxruntime {VERSION} cannot load {path}: {error}: bundles need onnxruntime 1.19.2 or newer; "
            "if this one is, build the bundle again"
        ) from error


def _explain_failure(error: Exception) -> NoReturn:
    if "alloc" in str(error):
        raise ToolchainError(f"onnxruntime ran out of memory ({error}): lower --batch or set --budget") from error
    raise InternalError(f"onnxruntime {VERSION} failed while running the graph: {error}") from error
