from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import Builder, replace
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class LowerTrainingOperators(Rewrite):
    """Scale and ConcatTraining of the engine's dialect are standard operators."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "Scale", "ConcatTraining")
        for node in found:
            build = Builder(graph)
            result = _scaled(build, node) if node.op_type == "Scale" else _joined(build, node)
            build.before(node)
            replace(node, [result])
        return bool(found)


def _scaled(build: Builder, node: ir.Node) -> ir.Value:
    value, scale = node.inputs
    divide = "scale_down" in node.attributes and node.attributes["scale_down"].as_int()
    factor = build.op("Cast", scale, to=int(ir.DataType.FLOAT))
    return build.op("Div" if divide else "Mul", value, factor)


def _joined(build: Builder, node: ir.Node) -> ir.Value:
    return build.op("Concat", *node.inputs, axis=node.attributes["axis"].as_int())
