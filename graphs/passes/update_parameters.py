from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, add_input, add_output
from graphs.gate import active_input, gate, gated
from graphs.passes.rewrite import Rewrite
from graphs.passes.schedule import UPDATED
from graphs.sizes import GATE

STEP = "optimizer.step"


@dataclass(frozen=True)
class UpdateWithAdam(Rewrite):
    """Every trained parameter follows its gradient by Adam with bias correction, as soon as that is complete.

    Adds the inputs `learning_rate` float32 [1], `optimizer.step` float32 [1] and two moments a parameter, all zero at
    first, and the outputs that follow them. Where the step's gate is 0, nothing changes.
    Source: Kingma and Ba (ICLR 2015) algorithm 1; epsilon as torch.optim.Adam adds it.
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
        size = build.op("Mul", size, active)
        decays = [(gated(build, active, beta, 1.0), gated(build, active, 1.0 - beta, 0.0)) for beta in self._betas]
        for parameter, gradient in gradients_of(graph, self.trained):
            first = _follow(graph, build, parameter, "moment1", gradient, decays[0])
            square = build.op("Mul", gradient, gradient)
            second = _follow(graph, build, parameter, "moment2", square, decays[1])
            deviation = build.op("Add", build.op("Div", build.op("Sqrt", second), spread), self.epsilon)
            _descend(graph, build, parameter, build.op("Mul", build.op("Div", first, deviation), size))
        build.at_end()
        return True

    @property
    def _betas(self) -> tuple[float, float]:
        return self.beta1, self.beta2


@dataclass(frozen=True)
class UpdateWithMomentum(Rewrite):
    """Every trained parameter follows its gradient by gradient descent with momentum, as soon as that is complete.

    Adds the inputs `learning_rate` float32 [1] and one moment a parameter, zero at first, and what follows them. Where
    the step's gate is 0, nothing changes, nor where that of the parameter's layer is closed.
    nesterov: whether the parameter moves by g + momentum · m instead of m.
    Source: torch.optim.SGD, without dampening; Sutskever et al. (ICML 2013) for Nesterov's momentum.
    """

    trained: tuple[str, ...]
    momentum: float
    nesterov: bool = False

    def rewrite(self, graph: ir.Graph) -> bool:
        rate = add_input(graph, "learning_rate", ir.DataType.FLOAT, [1])
        build = Builder(graph, EARLY)
        active = gate(graph, build)
        for parameter, gradient in gradients_of(graph, self.trained):
            moves = layer_gate(graph, build, parameter, active)
            decay = gated(build, moves, self.momentum, 1.0)
            following = _follow(graph, build, parameter, "moment1", gradient, (decay, moves))
            if self.nesterov:
                following = build.op("Add", gradient, build.op("Mul", following, self.momentum))
            _descend(graph, build, parameter, build.op("Mul", following, build.op("Mul", rate, moves)))
        build.at_end()
        return True


@dataclass(frozen=True)
class AccumulateGradients(Rewrite):
    """Every trained parameter's gradient is added to a buffer that lives from step to step; the parameter stays.

    Adds an input NAME.gradient for each, and what follows it. Where the step is not active, nothing changes.
    """

    trained: tuple[str, ...]

    def rewrite(self, graph: ir.Graph) -> bool:
        build = Builder(graph, EARLY)
        active = active_input(graph)
        for parameter, gradient in gradients_of(graph, self.trained):
            _follow(graph, build, parameter, GRADIENT, gradient, (1.0, active))
        build.at_end()
        return True


GRADIENT = "gradient"


def bias_corrections(
    graph: ir.Graph, build: Builder, rate: ir.Value, betas: tuple[float, float], active: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """learning rate / (1 - beta1^t) and sqrt(1 - beta2^t), float32 [1]; in float64, as beta^t is close to 1.

    t is one more than `optimizer.step`, which follows where the gate `active` is open.
    """
    step = add_input(graph, STEP, ir.DataType.FLOAT, [1])
    add_output(graph, build.op("Add", step, active), STEP + UPDATED, ir.DataType.FLOAT, [1])
    exact = build.op("Cast", build.op("Add", step, 1.0), to=int(ir.DataType.DOUBLE))
    powers = [build.op("Pow", np.array([beta]), exact) for beta in betas]
    first, second = (build.op("Sub", np.array([1.0]), power) for power in powers)
    size = build.op("Div", build.op("Cast", rate, to=int(ir.DataType.DOUBLE)), first)
    to_float = int(ir.DataType.FLOAT)
    return build.op("Cast", size, to=to_float), build.op("Cast", build.op("Sqrt", second), to=to_float)


def gradients_of(graph: ir.Graph, trained: Sequence[str]) -> list[tuple[ir.Value, ir.Value]]:
    inputs = {value.name: value for value in graph.inputs}
    computed = {value.name: value for node in graph for value in node.outputs}
    return [(inputs[name], computed[f"{name}_grad"]) for name in trained]


def layer_gate(graph: ir.Graph, build: Builder, parameter: ir.Value, active: ir.Value) -> ir.Value:
    """float32 [1]: `active`, and 0 where a gate of its own closes the layer of `parameter`."""
    name = f"{str(parameter.name).rpartition('.')[0]}{GATE}"
    found = next((value for node in graph for value in node.outputs if value.name == name), None)
    return active if found is None else build.op("Mul", active, build.op("Cast", found, to=int(ir.DataType.FLOAT)))


def _follow(
    graph: ir.Graph,
    build: Builder,
    parameter: ir.Value,
    moment: str,
    target: ir.Value,
    factors: tuple[ir.Value | float, ir.Value],
) -> ir.Value:
    """State of the parameter's shape: the first factor times itself, plus the second times `target`."""
    shape = shape_of(parameter)
    state = add_input(graph, f"{parameter.name}.{moment}", ir.DataType.FLOAT, shape)
    before, share = factors
    late = build.marked(LATE)  # it could be had at once, and would wait for the gradient
    old = state if before == 1.0 else late.op("Mul", state, before)
    following = build.op("Add", old, build.op("Mul", target, share))
    add_output(graph, following, f"{state.name}{UPDATED}", ir.DataType.FLOAT, shape)
    return following


def _descend(graph: ir.Graph, build: Builder, parameter: ir.Value, change: ir.Value) -> None:
    following = build.op("Sub", parameter, change)
    add_output(graph, following, f"{parameter.name}{UPDATED}", ir.DataType.FLOAT, shape_of(parameter))


def shape_of(parameter: ir.Value) -> list[int]:
    assert parameter.shape is not None
    return [int(dim) for dim in parameter.shape.numpy()]
