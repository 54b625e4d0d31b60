"""The kernels of the optimizers in numpy, which write into the arrays that they are given."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Attributes = Mapping[str, Any]


def adam_update(
    attributes: Attributes, parameter: Array, first: Array, second: Array, gradient: Array, *scalars: Array
) -> tuple[Array, Array, Array]:
    rate, deviation, active = (float(scalar[0]) for scalar in scalars)
    if active:
        begin, g = attributes["offset"], gradient.reshape(-1)
        p, m, v = (array.reshape(-1)[begin : begin + g.size] for array in (parameter, first, second))
        m[...] = attributes["beta1"] * m + (1 - attributes["beta1"]) * g
        v[...] = attributes["beta2"] * v + (1 - attributes["beta2"]) * g * g
        p -= rate * m / (np.sqrt(v) / deviation + attributes["epsilon"])
    return parameter, first, second


def momentum_update(
    attributes: Attributes, parameter: Array, moment: Array, gradient: Array, *scalars: Array
) -> tuple[Array, Array]:
    rate, active = (float(scalar[0]) for scalar in scalars)
    if active:
        begin, g = attributes["offset"], gradient.reshape(-1)
        p, m = (array.reshape(-1)[begin : begin + g.size] for array in (parameter, moment))
        m[...] = attributes["momentum"] * m + g
        p -= rate * (g + attributes["momentum"] * m if attributes["nesterov"] else m)
    return parameter, moment
