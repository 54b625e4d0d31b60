from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, Builder, add_input
from graphs.passes.rewrite import Rewrite
from graphs.passes.update_parameters import gradients_of, shape_of

FISHER, SOURCE = "fisher", "source"


@dataclass(frozen=True)
class AnchorParameters(Rewrite):
    """Each trained parameter is pulled to where it started: its gradient holds that of strength * F * (p - p0)^2 too.

    Adds the inputs NAME.fisher = F, its diagonal Fisher information, and NAME.source = p0.
    Source: EATA (Niu et al., ICML 2022) equation 8.
    """

    trained: tuple[str, ...]
    strength: float

    def rewrite(self, graph: ir.Graph) -> bool:
        build = Builder(graph, EARLY)
        for parameter, gradient in gradients_of(graph, self.trained):
            fisher, start = (
                add_input(graph, f"{parameter.name}.{kind}", ir.DataType.FLOAT, shape_of(parameter))
                for kind in (FISHER, SOURCE)
            )
            pull = build.op("Mul", build.op("Mul", fisher, build.op("Sub", parameter, start)), 2.0 * self.strength)
            name, gradient.name = gradient.name, f"{gradient.name}.of_loss"
            build.op("Add", gradient, pull, name=name)
        build.at_end()
        return True
