"""A stand-in for the Python module of TensorRT, for tests. It is not TensorRT.

It has the part of the interface that the driver uses, is strict where NvInferRuntime.h says that something fails or is
undefined, and computes with onnxruntime when its stream, of the stand-in for libcudart, is synchronized. What a real
TensorRT might let pass is noted in `violations`. TENSORRT_STAND_IN chooses the version, 8.5.2 or another.
"""

from .behaviour import (
    VERSION,
    BuilderFlag,
    DataType,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    broken,
    builds,
    faults,
    ignored,
    violations,
)
from .builder import Builder, IBuilderConfig, INetworkDefinition, IOptimizationProfile, ITimingCache, OnnxParser
from .engine import ICudaEngine, IExecutionContext, Refitter, Runtime, Weights

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITimingCache",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "Refitter",
    "Runtime",
    "TensorIOMode",
    "Weights",
    "broken",
    "builds",
    "faults",
    "ignored",
    "violations",
]

__version__ = VERSION
