from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, Builder, add_input, add_output
from graphs.gate import active_input, gate
from graphs.passes.measure_gradients import pieces_of
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import UPDATED
from graphs.passes.update_parameters import GRADIENT, bias_corrections, gradients_of, layer_gate, shape_of


@dataclass(frozen=True)
class AdamInPlace(Rewrite):
    """As UpdateWithAdam, in the parameters' own memory, piece by piece as the gradients come.

    Where the step's gate is 0, nothing changes.
    """

    trained: tuple[str, ...]
    beta1: float
    beta2: float
    epsilon: float

    def rewrite(self, graph: ir.Graph) -> bool:
        rate = add_input(graph, "learning_rate", ir.DataType.FLOAT, [1])
        build = Builder(graph, EARLY)
        active = gate(graph, build)
        size, spread = bias_corrections(graph, build, rate, (self.beta1, self.beta2), active)
        facts = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}
        for parameter, gradient in gradients_of(graph, self.trained):
            state = [parameter, *_moments(graph, parameter, 2)]
            _update(graph, build, "AdamUpdate", state, gradient, (size, spread, active), facts)
        build.at_end()
        return True


@dataclass(frozen=True)
class MomentumInPlace(Rewrite):
    """As UpdateWithMomentum, in the parameters' own memory, piece by piece as the gradients come.

    Where the step's gate is 0, nothing changes, nor where that of the parameter's layer is closed.
    """

    trained: tuple[str, ...]
    momentum: float
    nesterov: bool = False

    def rewrite(self, graph: ir.Graph) -> bool:
        rate = add_input(graph, "learning_rate", ir.DataType.FLOAT, [1])
        build = Builder(graph, EARLY)
        active = gate(graph, build)
        facts = {"momentum": self.momentum, "nesterov": int(self.nesterov)}
        for parameter, gradient in gradients_of(graph, self.trained):
            state, moves = [parameter, *_moments(graph, parameter, 1)], layer_gate(graph, build, parameter, active)
            _update(graph, build, "MomentumUpdate", state, gradient, (rate, moves), facts)
        build.at_end()
        return True


@dataclass(frozen=True)
class AccumulateInPlace(Rewrite):
    """As AccumulateGradients, in the buffers' own memory, piece by piece as the gradients come.

    A momentum of 1 and a learning rate of 0 make MomentumUpdate a sum, which leaves the parameter as it is.
    """

    trained: tuple[str, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        active = active_input(graph)
        build = Builder(graph, EARLY)
        nothing = build.constant(np.zeros(1, np.float32))
        facts = {"momentum": 1.0, "nesterov": 0}
        for parameter, gradient in gradients_of(graph, self.trained):
            buffer = add_input(graph, f"{parameter.name}.{GRADIENT}", ir.DataType.FLOAT, shape_of(parameter))
            _update(graph, build, "MomentumUpdate", [parameter, buffer], gradient, (nothing, active), facts)
        build.at_end()
        return True


def _moments(graph: ir.Graph, parameter: ir.Value, count: int) -> list[ir.Value]:
    shape = shape_of(parameter)
    names = [f"{parameter.name}.moment{number}" for number in range(1, count + 1)]
    return [add_input(graph, name, ir.DataType.FLOAT, shape) for name in names]


def _update(
    graph: ir.Graph,
    build: Builder,
    op_type: str,
    state: Sequence[ir.Value],
    gradient: ir.Value,
    scalars: Sequence[ir.Value],
    facts: Mapping[str, float],
) -> None:
    current, offset = list(state), 0
    for part in pieces_of(gradient):
        current = list(build.own(op_type, len(state), *current, part, *scalars, **facts, offset=offset))
        offset += int(np.prod(shape_of(part if part is not gradient else state[0])))
    for before, after in zip(state, current, strict=True):
        add_output(graph, after, f"{before.name}{UPDATED}", ir.DataType.FLOAT, shape_of(before))
