"""TensorRT, the only file that imports it: engines built, run and refitted by the names of their tensors.

Written for what 8.5, 8.6 and 10 share. On 8.x a refit leaves execution contexts unusable; a refit with work pending is
undefined, one with a weight missing fails (NvInferRuntime.h, IRefitter). So contexts are renewed, the stream is drained
and every weight is set, on each version. Variables are annotated so that tests can look up what is used of TensorRT.
"""

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import tensorrt

from toolchain.driver.engine.cuda import Buffer, Cuda
from toolchain.errors import EngineError

VERSION: str = tensorrt.__version__
OLDEST = (8, 5)
WORKSPACE_BYTES = 256 << 20
"""For the engine's tactics: on a Jetson, CPU and GPU share the memory, and adaptation needs some of it."""


@dataclass(frozen=True)
class BuildSettings:
    """precision: "fp32" (without TF32) or "fp16", of the computation; inputs, outputs and weights given are float32."""

    precision: str
    max_batch: int


class _Log(tensorrt.ILogger):  # type: ignore[misc]
    """Keeps TensorRT's errors for the messages of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: List[str] = []

    def log(self, severity: Any, msg: str) -> None:
        if severity in (tensorrt.ILogger.INTERNAL_ERROR, tensorrt.ILogger.ERROR):
            self.errors = [*self.errors[-4:], msg]


_LOG = _Log()


def check_version() -> None:
    """Raises EngineError for a TensorRT without the interface of tensor names."""
    if tuple(int(part) for part in VERSION.split(".")[:2]) < OLDEST:
        raise EngineError(f"TensorRT {VERSION} is too old: 8.5 or newer is needed")


def build_plan(model: bytes, settings: BuildSettings, timing: bytes) -> Tuple[bytes, bytes]:
    """A refittable engine for an ONNX file, as TensorRT stores it, and the timing cache grown by its measurements.

    timing: the cache of an earlier build on this device, or nothing. Raises EngineError.
    """
    builder: tensorrt.Builder = tensorrt.Builder(_LOG)
    network: tensorrt.INetworkDefinition = builder.create_network(_explicit_batch())
    _parse(network, model)
    config: tensorrt.IBuilderConfig = builder.create_builder_config()
    _configure(config, settings)
    config.add_optimization_profile(_profile(builder, network, settings.max_batch))
    _use_timings(config, timing)
    plan: tensorrt.IHostMemory = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failure("the engine could not be built")
    cache: tensorrt.ITimingCache = config.get_timing_cache()
    return bytes(plan), bytes(cache.serialize())


class Engine:
    """One engine with one context, one stream, and memory for its input and output."""

    def __init__(self, plan: bytes, cuda: Cuda, max_batch: int) -> None:
        """Raises EngineError for a plan that this TensorRT on this device does not take."""
        self._cuda = cuda
        self._max_batch = max_batch
        self._runtime: tensorrt.Runtime = tensorrt.Runtime(_LOG)
        self._engine: tensorrt.ICudaEngine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _failure("the stored engine cannot be loaded")
        if not self._engine.refittable:
            raise EngineError("the stored engine cannot be refitted")
        self._input, self._output = self._tensor_names()
        self._buffers: Dict[str, Buffer] = {}
        try:
            for name in (self._input, self._output):
                self._buffers[name] = cuda.buffer(self._elements(name))
            self._renew_context()
        except EngineError:
            self.close()
            raise

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Output float32 [N, …] for images float32 [N, C, H, W]. Raises EngineError."""
        starts = range(0, len(images), self._max_batch)
        return np.concatenate([self._run(images[start : start + self._max_batch]) for start in starts])

    def refit(self, weights: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]) -> None:
        """Replace every weight. constants: others that the engine may want set again; C-contiguous float32 all of them.

        Raises EngineError, and leaves the engine unusable.
        """
        self._cuda.synchronize()
        del self._context
        refitter: tensorrt.Refitter = tensorrt.Refitter(self._engine, _LOG)
        known = set(refitter.get_all_weights())
        given = {**{name: array for name, array in constants.items() if name in known}, **weights}
        for name, array in given.items():
            if not refitter.set_named_weights(name, tensorrt.Weights(array)):
                raise _failure(f"the engine does not take the weight {name} with {array.size} elements")
        missing = refitter.get_missing_weights()
        if missing:
            raise EngineError(f"infer/tensorrt.json lacks weights of the engine: {', '.join(missing)}")
        if not refitter.refit_cuda_engine():
            raise _failure("the engine could not be refitted")
        self._renew_context()

    def close(self) -> None:
        """Give memory back, also where CUDA has failed; the engine is unusable then."""
        self.__dict__.pop("_context", None)
        frees = [buffer.free for buffer in self._buffers.values()]
        for last in (self._cuda.synchronize, *frees, self._cuda.close):
            with contextlib.suppress(EngineError):
                last()

    def _run(self, images: np.ndarray) -> np.ndarray:
        source, result = self._buffers[self._input], self._buffers[self._output]
        if not self._context.set_input_shape(self._input, images.shape):
            raise _failure(f"the engine refuses images of shape {images.shape}")
        shape = (len(images), *self._sample(self._output))
        np.copyto(source.array[: images.size], images.reshape(-1))
        self._cuda.upload(source, images.size)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise _failure("the engine failed")
        self._cuda.download(result, math.prod(shape))
        self._cuda.synchronize()
        return result.array[: math.prod(shape)].reshape(shape).copy()

    def _renew_context(self) -> None:
        self._context: tensorrt.IExecutionContext = self._engine.create_execution_context()
        if self._context is None:
            raise _failure("the engine has no memory to run in")
        for name, buffer in self._buffers.items():
            self._place(name, buffer)

    def _place(self, name: str, buffer: Buffer) -> None:
        if not self._context.set_tensor_address(name, buffer.address):
            raise _failure(f"the engine does not take memory for {name}")

    def _tensor_names(self) -> Tuple[str, str]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        if len(inputs) != 1 or len(names) != 2:
            raise EngineError(f"the engine has the tensors {', '.join(names)}: expected one input and one output")
        (output,) = set(names) - set(inputs)
        return inputs[0], output

    def _elements(self, name: str) -> int:
        if self._engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT:
            raise EngineError(f"the engine's tensor {name} is not float32")
        return self._max_batch * math.prod(self._sample(name))

    def _sample(self, name: str) -> Tuple[int, ...]:
        """The shape of a tensor without its batch dimension."""
        return tuple(self._engine.get_tensor_shape(name))[1:]


def _explicit_batch() -> int:
    return 1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _parse(network: "tensorrt.INetworkDefinition", model: bytes) -> None:
    parser: tensorrt.OnnxParser = tensorrt.OnnxParser(network, _LOG)
    if not parser.parse(model):
        words = "; ".join(_description(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"TensorRT {VERSION} cannot parse the model: {words}")


def _description(error: "tensorrt.ParserError") -> str:
    return str(error.desc())


def _configure(config: "tensorrt.IBuilderConfig", settings: BuildSettings) -> None:
    config.set_flag(tensorrt.BuilderFlag.REFIT)
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if settings.precision == "fp16":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)


def _profile(
    builder: "tensorrt.Builder", network: "tensorrt.INetworkDefinition", max_batch: int
) -> "tensorrt.IOptimizationProfile":
    """Any batch from one to max_batch; one frame is what it is tuned for."""
    feed: tensorrt.ITensor = network.get_input(0)
    sample = tuple(feed.shape)[1:]
    profile: tensorrt.IOptimizationProfile = builder.create_optimization_profile()
    profile.set_shape(feed.name, (1, *sample), (1, *sample), (max_batch, *sample))
    return profile


def _use_timings(config: "tensorrt.IBuilderConfig", timing: bytes) -> None:
    """Those of an earlier build, unless they are of another device."""
    cache: tensorrt.ITimingCache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _failure(what: str) -> EngineError:
    """With what TensorRT said last."""
    said = "; ".join(_LOG.errors) or "no reason given"
    _LOG.errors = []
    return EngineError(f"{what} (TensorRT {VERSION}: {said})")
