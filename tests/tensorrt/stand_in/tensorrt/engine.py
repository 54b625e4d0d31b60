"""Engines, their contexts and their refits."""

import ctypes
import os
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from .behaviour import VERSION, BuilderFlag, DataType, ILogger, TensorIOMode, broken, fails, ignored, violations

_OPERANDS = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "Add": (0, 1), "Mul": (0, 1)}
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Tensor:
    def __init__(self, info: onnx.ValueInfoProto) -> None:
        self.name = info.name
        self.shape = tuple(dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim)


def tensors_of(model: onnx.ModelProto) -> list[Tensor]:
    return [Tensor(info) for info in (*model.graph.input, *model.graph.output)]


class Weights:
    """Points at the array, as the real one does: what it holds when the engine is refitted is what counts."""

    def __init__(self, a: np.ndarray) -> None:
        if a.dtype != np.float32 or not a.flags.c_contiguous:
            violations.append("weights that are not C-contiguous float32")
        self.array = a


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        try:
            version, *facts = pickle.loads(serialized_engine)
        except Exception:
            version, facts = "", []
        if version != VERSION or fails("deserialize_cuda_engine"):
            self._logger.log(ILogger.ERROR, "the engine plan file is not compatible with this version of TensorRT")
            return None
        return ICudaEngine(self._logger, *facts)


class ICudaEngine:
    def __init__(self, logger: ILogger, model: bytes, flags: set[int], shapes: dict[str, Any]) -> None:
        self.logger = logger
        self.model = onnx.load_from_string(model)
        self.flags = flags
        self.profile = shapes
        self.refittable = BuilderFlag.REFIT in flags
        self.refits = self.pending = 0
        self._tensors = tensors_of(self.model)
        self._session: Any = None

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = {info.name for info in self.model.graph.input}
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return next(tensor.shape for tensor in self._tensors if tensor.name == name)

    def create_execution_context(self) -> "IExecutionContext | None":
        return None if fails("create_execution_context") else IExecutionContext(self)

    def weights(self) -> dict[str, onnx.TensorProto]:
        """Those that a refit can reach: operands of what becomes a layer."""
        nodes = self.model.graph.node
        used = {node.input[i] for node in nodes for i in _OPERANDS.get(node.op_type, ()) if i < len(node.input)}
        return {tensor.name: tensor for tensor in self.model.graph.initializer if tensor.name in used}

    def replace(self, arrays: dict[str, np.ndarray]) -> None:
        for name, tensor in self.weights().items():
            if name not in ignored:
                tensor.CopyFrom(numpy_helper.from_array(arrays[name].reshape(tensor.dims), name))
        self._session = None
        self.refits += 1

    def compute(self, images: np.ndarray) -> np.ndarray:
        if self._session is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            content = self.model.SerializeToString()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        logits = self._session.run(None, {self.model.graph.input[0].name: images})[0]
        return self._rounded(np.ascontiguousarray(logits, np.float32))

    def _rounded(self, logits: np.ndarray) -> np.ndarray:
        """To the 10 bits of mantissa that float16 and TF32 have."""
        if broken & self.flags:
            return np.full_like(logits, np.nan)
        if {BuilderFlag.FP16, BuilderFlag.TF32} & self.flags:
            return (logits.view(np.int32) & ~0x1FFF).view(np.float32)
        return logits


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._refits = engine.refits
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._works: list[Any] = []

    def set_input_shape(self, name: str, shape: Any) -> bool:
        smallest, _, largest = self._engine.profile[name]
        fits = len(shape) == len(largest) and all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True))
        self._shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, memory: int) -> bool:
        known = name in [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._addresses[name] = memory
        return known and memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        if VERSION.startswith("8.") and self._refits != self._engine.refits:
            violations.append("a context from before the refit is used")
            return False
        if len(self._addresses) != self._engine.num_io_tensors or not self._shapes:
            violations.append("a tensor without address, or without shape")
            return False
        if fails("execute_async_v3"):
            self._engine.logger.log(ILogger.ERROR, "unspecified launch failure")
            return False
        self._engine.pending += 1
        self._works = [*self._works[-4:], _FUNCTION(lambda _: self._compute())]
        return bool(_cudart().standin_enqueue(stream_handle, self._works[-1], None) == 0)

    def _compute(self) -> None:
        ((name, shape),) = self._shapes.items()
        (output,) = set(self._addresses) - {name}
        logits = self._engine.compute(_at(self._addresses[name], shape).copy())
        np.copyto(_at(self._addresses[output], logits.shape), logits)
        self._engine.pending -= 1


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine = engine
        self._given: dict[str, np.ndarray] = {}

    def get_all_weights(self) -> list[str]:
        return list(self._engine.weights())

    def set_named_weights(self, name: str, weights: Weights) -> bool:
        tensor = self._engine.weights().get(name)
        if tensor is None or weights.array.size != np.prod(tensor.dims, dtype=int) or fails("set_named_weights"):
            return False
        self._given[name] = weights.array
        return True

    def get_missing_weights(self) -> list[str]:
        return sorted(self._engine.weights().keys() - self._given)

    def refit_cuda_engine(self) -> bool:
        if self._engine.pending:
            violations.append("a refit while work is pending")
            return False
        if not self._engine.refittable or self.get_missing_weights() or fails("refit_cuda_engine"):
            return False
        self._engine.replace(self._given)
        return True


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 at an address of the device."""
    return np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(address)).reshape(shape)


def _cudart() -> Any:
    library = ctypes.CDLL(os.environ["TOOLCHAIN_LIBCUDART"])
    library.standin_enqueue.argtypes = (ctypes.c_void_p, _FUNCTION, ctypes.c_void_p)
    return library
