from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, Operand, add_input, add_output
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import UPDATED
from graphs.sizes import GATE

STEP = "optimizer.step"


@dataclass(frozen=True)
class UpdateWithAdam(Rewrite):
    """Every trained parameter follows its gradient by Adam with bias correction, as soon as that is complete.

    Adds the inputs `learning_rate` float32 [1], `optimizer.step` float32 [1] and two moments a parameter, all zero at
    first, and the outputs that follow them.
    Source: Kingma and Ba (ICLR 2015) algorithm 1; epsilon as torch.optim.Adam adds it.
    """

    trained: tuple[str, ...]
    beta1: float
    beta2: float
    epsilon: float

    def rewrite(self, graph: ir.Graph) -> bool:
        rate = add_input(graph, "learning_rate", ir.DataType.FLOAT, [1])
        build = Builder(graph, EARLY)
        size, spread = bias_corrections(graph, build, rate, (self.beta1, self.beta2))
        for parameter, gradient in gradients_of(graph, self.trained):
            first = _follow(graph, build, parameter, "moment1", gradient, self.beta1)
            square = build.op("Mul", gradient, gradient)
            second = _follow(graph, build, parameter, "moment2", square, self.beta2)
            deviation = build.op("Add", build.op("Div", build.op("Sqrt", second), spread), self.epsilon)
            _descend(graph, build, parameter, build.op("Mul", build.op("Div", first, deviation), size))
        build.at_end()
        return True


@dataclass(frozen=True)
class UpdateWithMomentum(Rewrite):
    """Every trained parameter follows its gradient by gradient descent with momentum, as soon as that is complete.

    Adds the inputs `learning_rate` float32 [1] and one moment a parameter, zero at first, and what follows them.
    Where the gate of its layer is closed, a parameter and its moment stay, as without a gradient.
    Source: torch.optim.SGD, without dampening.
    """

    trained: tuple[str, ...]
    momentum: float

    def rewrite(self, graph: ir.Graph) -> bool:
        rate = add_input(graph, "learning_rate", ir.DataType.FLOAT, [1])
        build = Builder(graph, EARLY)
        for parameter, gradient in gradients_of(graph, self.trained):
            moment = add_input(graph, f"{parameter.name}.moment1", ir.DataType.FLOAT, shape_of(parameter))
            gate = gate_of(graph, parameter)
            following = _if_open(build, gate, build.op("Add", build.op("Mul", moment, self.momentum), gradient), moment)
            add_output(graph, following, f"{moment.name}{UPDATED}", ir.DataType.FLOAT, shape_of(parameter))
            _descend(graph, build, parameter, _if_open(build, gate, build.op("Mul", following, rate), 0.0))
        build.at_end()
        return True


def bias_corrections(
    graph: ir.Graph, build: Builder, rate: ir.Value, betas: tuple[float, float]
) -> tuple[ir.Value, ir.Value]:
    """learning rate / (1 - beta1^t) and sqrt(1 - beta2^t), float32 [1]; in float64, as beta^t is close to 1."""
    step = add_input(graph, STEP, ir.DataType.FLOAT, [1])
    following = build.op("Add", step, 1.0)
    add_output(graph, following, STEP + UPDATED, ir.DataType.FLOAT, [1])
    exact = build.op("Cast", following, to=int(ir.DataType.DOUBLE))
    powers = [build.op("Pow", np.array([beta]), exact) for beta in betas]
    first, second = (build.op("Sub", np.array([1.0]), power) for power in powers)
    size = build.op("Div", build.op("Cast", rate, to=int(ir.DataType.DOUBLE)), first)
    to_float = int(ir.DataType.FLOAT)
    return build.op("Cast", size, to=to_float), build.op("Cast", build.op("Sqrt", second), to=to_float)


def gradients_of(graph: ir.Graph, trained: Sequence[str]) -> list[tuple[ir.Value, ir.Value]]:
    inputs = {value.name: value for value in graph.inputs}
    computed = {value.name: value for node in graph for value in node.outputs}
    return [(inputs[name], computed[f"{name}_grad"]) for name in trained]


def gate_of(graph: ir.Graph, parameter: ir.Value) -> ir.Value | None:
    """What says whether the layer of `parameter` is on, bool [1], if anything does."""
    name = f"{str(parameter.name).rpartition('.')[0]}{GATE}"
    return next((value for node in graph for value in node.outputs if value.name == name), None)


def _if_open(build: Builder, gate: ir.Value | None, value: ir.Value, otherwise: Operand) -> ir.Value:
    return value if gate is None else build.op("Where", gate, value, otherwise)


def _follow(
    graph: ir.Graph, build: Builder, parameter: ir.Value, moment: str, target: ir.Value, decay: float
) -> ir.Value:
    """The exponential moving average decay * moment + (1 - decay) * target, kept as state."""
    shape = shape_of(parameter)
    state = add_input(graph, f"{parameter.name}.{moment}", ir.DataType.FLOAT, shape)
    following = build.op("Add", build.op("Mul", state, decay), build.op("Mul", target, 1.0 - decay))
    add_output(graph, following, f"{state.name}{UPDATED}", ir.DataType.FLOAT, shape)
    return following


def _descend(graph: ir.Graph, build: Builder, parameter: ir.Value, change: ir.Value) -> None:
    following = build.op("Sub", parameter, change)
    add_output(graph, following, f"{parameter.name}{UPDATED}", ir.DataType.FLOAT, shape_of(parameter))


def shape_of(parameter: ir.Value) -> list[int]:
    assert parameter.shape is not None
    return [int(dim) for dim in parameter.shape.numpy()]
