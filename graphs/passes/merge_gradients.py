from dataclasses import dataclass, field

import onnx_ir as ir

from graphs.build import Builder, producer, replace
from graphs.passes.rewrite import Rewrite, nodes_of

LINEAR = ("BatchNormalizationGrad", "ConvGrad", "ReluGrad")
"""Gradients that are linear in their input 0, the gradient of what the operator gave."""


@dataclass(frozen=True)
class MergeGradients(Rewrite):
    """Two gradients of one weight by way of the same activation are one, that of the summed output gradient.

    Where an input's gradient belongs to one of the two alone, it is computed by itself.
    """

    def rewrite(self, graph: ir.Graph) -> bool:
        found = [node for node in nodes_of(graph, "Sum") if len(node.inputs) == 2 and _twins(*node.inputs)]
        merger = _Merger(graph)
        for node in found:
            replace(node, [merger.sum(*node.inputs)])
        return bool(found)


def _twins(first: ir.Value | None, second: ir.Value | None) -> bool:
    """Whether two values are the same output of the same gradient, but for the input 0."""
    one, other = (value.producer() if value is not None else None for value in (first, second))
    if first is None or second is None or one is None or other is None or one.op_type not in LINEAR:
        return False
    return (
        one.op_type == other.op_type
        and one.inputs[1:] == other.inputs[1:]
        and one.attributes == other.attributes
        and _place(first) == _place(second)
    )


def _place(value: ir.Value) -> int:
    """Which output of its node it is."""
    return producer(value).outputs.index(value)


@dataclass
class _Merger:
    """Sums two values where they come from, each pair once."""

    graph: ir.Graph
    sums: dict[frozenset[ir.Value | ir.Node], ir.Node] = field(default_factory=dict)

    def sum(self, first: ir.Value | None, second: ir.Value | None) -> ir.Value:
        assert first is not None and second is not None
        if _twins(first, second):
            return self._merged(producer(first), producer(second)).outputs[_place(first)]
        return self._added(first, second).outputs[0]

    def _merged(self, first: ir.Node, second: ir.Node) -> ir.Node:
        pair: frozenset[ir.Value | ir.Node] = frozenset({first, second})
        if pair not in self.sums:
            deeper = max(first, second, key=lambda node: len(_sources(node)))
            inputs = [self.sum(first.inputs[0], second.inputs[0]), *first.inputs[1:]]
            count = len(first.outputs)
            merged = ir.node(first.op_type, inputs, first.attributes, domain=first.domain, num_outputs=count)
            for old, new in zip(first.outputs, merged.outputs, strict=True):
                new.shape, new.type = old.shape, old.type
            self.graph.insert_before(deeper, merged)
            _hoist(self.graph, merged)
            self.sums[pair] = merged
        return self.sums[pair]

    def _added(self, first: ir.Value, second: ir.Value) -> ir.Node:
        pair: frozenset[ir.Value | ir.Node] = frozenset({first, second})
        if pair not in self.sums:
            build = Builder(self.graph)
            total = build.op("Add", first, second)
            total.shape, total.type = first.shape, first.type
            build.at_end()
            self.sums[pair] = build.nodes[0]
        return self.sums[pair]


def _sources(node: ir.Node) -> set[ir.Node]:
    """Every node that `node` follows from."""
    found: set[ir.Node] = set()
    waiting = [node]
    while waiting:
        fresh = {value.producer() for value in waiting.pop().inputs if value is not None} - found - {None}
        found |= {source for source in fresh if source is not None}
        waiting += [source for source in fresh if source is not None]
    return found


def _hoist(graph: ir.Graph, node: ir.Node) -> None:
    """Moves what `node` needs, and what stands behind it, to before it."""
    place = {found: index for index, found in enumerate(graph)}
    late = sorted((source for source in _sources(node) if place[source] > place[node]), key=place.__getitem__)
    graph.remove(late)
    graph.insert_before(node, late)
