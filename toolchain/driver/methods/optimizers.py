"""Optimizers for gradients that a step has left in buffers, in the parameters' own memory, a part at a time."""

from typing import Iterator, Mapping, Tuple

import numpy as np

from toolchain.driver.step import Step

PART = 1 << 16
Numbers = Mapping[str, float]


def clear_gradients(step: Step) -> None:
    for array in step.of("gradient").values():
        array.fill(0.0)


def gradient_of(step: Step, parameter: str) -> np.ndarray:
    return step.tensors[f"{parameter}.gradient"]


def descend(step: Step, numbers: Numbers, learning_rate: float) -> None:
    """One update of every parameter by the optimizer whose numbers these are."""
    if "beta1" in numbers:
        _adam(step, numbers, learning_rate)
    else:
        _momentum(step, numbers, learning_rate)


def _adam(step: Step, numbers: Numbers, learning_rate: float) -> None:
    """Kingma and Ba (ICLR 2015) algorithm 1; epsilon as torch.optim.Adam adds it."""
    beta1, beta2, epsilon = numbers["beta1"], numbers["beta2"], numbers["epsilon"]
    counter = step.tensors["optimizer.step"]
    counter += 1
    size = np.float32(learning_rate / (1 - beta1 ** float(counter[0])))
    spread = np.float32(np.sqrt(1 - beta2 ** float(counter[0])))
    for parameter, gradient, first, second in _parts(step, "gradient", "moment1", "moment2"):
        first *= np.float32(beta1)
        first += np.float32(1 - beta1) * gradient
        second *= np.float32(beta2)
        second += np.float32(1 - beta2) * gradient * gradient
        parameter -= size * first / (np.sqrt(second) / spread + np.float32(epsilon))


def _momentum(step: Step, numbers: Numbers, learning_rate: float) -> None:
    """torch.optim.SGD, without dampening; with Nesterov's momentum where the numbers say so."""
    for parameter, gradient, moment in _parts(step, "gradient", "moment1"):
        moment *= np.float32(numbers["momentum"])
        moment += gradient
        change = gradient + np.float32(numbers["momentum"]) * moment if numbers.get("nesterov") else moment
        parameter -= np.float32(learning_rate) * change


def _parts(step: Step, *kinds: str) -> Iterator[Tuple[np.ndarray, ...]]:
    """Views of every parameter and of the tensors of these kinds that go with it, in parts of the same elements."""
    for name, parameter in step.of("parameter").items():
        arrays = [array.reshape(-1) for array in (parameter, *(step.tensors[f"{name}.{kind}"] for kind in kinds))]
        for start in range(0, parameter.size, PART):
            yield tuple(array[start : start + PART] for array in arrays)
