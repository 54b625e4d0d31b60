from dataclasses import dataclass

import onnx_ir as ir

from graphs.build import EARLY, SCHEDULE
from graphs.passes.rewrite import Rewrite, nodes_of


@dataclass(frozen=True)
class AccumulateEarly(Rewrite):
    """A gradient is added to its buffer as soon as it is complete, and not when all of them are."""

    def rewrite(self, graph: ir.Graph) -> bool:
        found = nodes_of(graph, "InPlaceAccumulatorV2")
        for node in found:
            node.metadata_props[SCHEDULE] = EARLY
        return bool(found)
