"""The size of a tensor, and how many elements of one are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir


@dataclass(frozen=True)
class TensorSize:
    dtype: ir.DataType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return int(self.elements * self.dtype.bitwidth) // 8


Sizes = Mapping[ir.Value, TensorSize]


def kept_count(elements: int, ratio: float) -> int:
    """k = floor(n (1 - p)), in float64 from the float32 ratio."""
    return int(np.floor(np.float64(elements) * (1.0 - np.float64(np.float32(ratio)))))


def bits(elements: int) -> TensorSize:
    """One bit an element."""
    return TensorSize(ir.DataType.UINT8, (-(-elements // 8),))


def places(elements: int, kept: int) -> TensorSize:
    """The most that the places of `kept` of `elements` take, as the kernels write them.

    Where few are kept: a bit for each group of four, and the four bits of each group that is not empty.
    """
    if 16 * kept >= 3 * elements:
        return bits(elements)
    groups = -(-elements // 4)
    return TensorSize(ir.DataType.UINT8, (-(-groups // 8) + -(-min(kept, groups) // 2),))
