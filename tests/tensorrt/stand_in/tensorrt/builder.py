"""From an ONNX file to a plan."""

import hashlib
import pickle
from typing import Any

import onnx

from .behaviour import (
    VERSION,
    BuilderFlag,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    builds,
    fails,
    violations,
)
from .engine import tensors_of


class INetworkDefinition:
    def __init__(self) -> None:
        self.model = b""

    def get_input(self, index: int) -> Any:
        return tensors_of(onnx.load_from_string(self.model))[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        try:
            onnx.checker.check_model(onnx.load_from_string(model))
        except Exception as error:
            self._errors.append(ParserError(str(error).splitlines()[0]))
            return False
        self._network.model = model
        return True


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class IBuilderConfig:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self._cache = ITimingCache(b"")

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool_size > 0

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.content and not cache.content.startswith(VERSION.encode()):
            return False
        self._cache = ITimingCache(cache.content or f"{VERSION} ".encode())
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        if not flags & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH and VERSION.startswith("8."):
            violations.append("a network with an implicit batch dimension")
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        if fails("build_serialized_network"):
            self._logger.log(ILogger.ERROR, "no tactic fits the workspace")
            return None
        builds.append(hashlib.sha256(network.model).hexdigest())
        config.get_timing_cache().content += b"measured "
        (profile,) = config.profiles
        return pickle.dumps((VERSION, network.model, {int(flag) for flag in config.flags}, profile.shapes))
