"""The order of nodes, and the memory that follows from it."""

import numpy as np
import onnx_ir as ir

from graphs.build import EARLY, LATE, Builder, add_input, add_output
from graphs.check import complaint_about
from graphs.liveness import find_peak
from graphs.passes.schedule import Schedule


def _graph() -> ir.Graph:
    """Two layers forward, what the first saves, and a state that two nodes read."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="order")
    images = add_input(graph, "images", ir.DataType.FLOAT, ["N", 100])
    weight = add_input(graph, "weight", ir.DataType.FLOAT, [100])
    first = Builder(graph)
    a = first.op("Mul", images, weight, name="a")
    b = first.op("Relu", a, name="b")
    early = Builder(graph, EARLY)
    saved = early.op("Greater", a, 0.0, name="saved")
    late = Builder(graph, LATE)
    restored = late.op("Cast", saved, to=1, name="restored")
    last = Builder(graph)
    c = last.op("Mul", b, restored, name="c")
    update = Builder(graph, EARLY)
    changed = update.op("Sub", weight, update.op("ReduceMean", a, np.array([0]), keepdims=0))
    d = last.op("Mul", c, weight, name="d")
    for part in (update, late, first, last, early):
        part.at_end()
    add_output(graph, d, "d", ir.DataType.FLOAT, ["N", 100])
    add_output(graph, changed, "weight.updated", ir.DataType.FLOAT, [100])
    return graph


def test_schedule_golden_order() -> None:
    graph = _graph()
    assert complaint_about(graph)
    Schedule()(ir.Model(graph, ir_version=10))
    assert complaint_about(graph) is None
    assert [node.op_type for node in graph] == ["Mul", "ReduceMean", "Greater", "Relu", "Cast", "Mul", "Mul", "Sub"]


def test_state_is_overwritten_after_its_last_reader() -> None:
    graph = _graph()
    Schedule()(ir.Model(graph, ir_version=10))
    order = list(graph)
    readers = [order.index(node) for node in graph.inputs[1].consumers()]
    assert order.index(graph.outputs[1].producer()) == max(readers)  # type: ignore[arg-type]


def test_schedule_twice_changes_nothing_more() -> None:
    model = ir.Model(_graph(), ir_version=10)
    Schedule()(model)
    assert not Schedule()(model).modified


def test_peak_counts_what_is_live_at_once() -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="chain")
    x = add_input(graph, "images", ir.DataType.FLOAT, ["N", 10])
    build = Builder(graph)
    a = build.op("Relu", x)
    b = build.op("Neg", a)
    c = build.op("Add", build.op("Exp", b), b)
    build.at_end()
    add_output(graph, c, "c", ir.DataType.FLOAT, ["N", 10])
    peak = find_peak(graph, batch=4, ratios=[])
    assert peak.bytes == 3 * 4 * 10 * 4, "b, exp(b) and their sum; a is gone"
