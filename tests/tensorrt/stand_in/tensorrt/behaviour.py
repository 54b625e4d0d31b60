"""What the tests choose, and what they find afterwards."""

import enum
import os
from typing import Any

VERSION = os.environ.get("TENSORRT_STAND_IN", "8.5.2")

violations: list[str] = []
faults: dict[str, int] = {}
"""Function → how many of its next calls fail."""

ignored: set[str] = set()
"""Weights that a refit silently leaves as they were."""

broken: set["BuilderFlag"] = set()
"""Engines built with one of these flags compute NaN."""

builds: list[str] = []
"""SHA-256 of every model that an engine was built for."""


def fails(name: str) -> bool:
    left = faults.get(name, 0)
    faults[name] = max(left - 1, 0)
    return left > 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0


class BuilderFlag(enum.IntEnum):
    FP16 = 0
    REFIT = 5
    TF32 = 7


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class DataType(enum.IntEnum):
    FLOAT = 0


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ILogger:
    INTERNAL_ERROR, ERROR = 0, 1

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError
