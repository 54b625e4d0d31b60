"""What is in memory while a node runs."""

import onnx_ir as ir

from graphs.allocation import MAPPED, PAGE, resident
from graphs.build import Builder, add_input, add_output
from graphs.liveness import find_peak, turns

FLOAT = ir.DataType.FLOAT


def graph_of(elements: int) -> ir.Graph:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="memory")
    add_input(graph, "images", FLOAT, ["N", elements])
    return graph


def annotated(value: ir.Value, elements: int) -> ir.Value:
    value.shape, value.type = ir.Shape(["N", elements]), ir.TensorType(FLOAT)
    return value


def test_relu_takes_the_memory_of_an_input_that_nothing_else_reads() -> None:
    graph = graph_of(100)
    build = Builder(graph)
    negative = annotated(build.op("Neg", graph.inputs[0]), 100)
    rectified = annotated(build.op("Relu", negative), 100)
    add_output(graph, build.op("Abs", rectified), "y", FLOAT, ["N", 100])
    build.at_end()
    assert find_peak(graph, batch=1, ratios=[]).bytes == 2 * 400, "the Relu is the Neg's memory, then there is Abs"


def test_relu_leaves_an_input_that_is_read_later() -> None:
    graph = graph_of(100)
    build = Builder(graph)
    negative = annotated(build.op("Neg", graph.inputs[0]), 100)
    rectified = annotated(build.op("Relu", negative), 100)
    add_output(graph, build.op("Add", rectified, negative), "y", FLOAT, ["N", 100])
    build.at_end()
    assert find_peak(graph, batch=1, ratios=[]).bytes == 3 * 400


def test_what_nobody_reads_stays_to_the_end() -> None:
    graph = graph_of(100)
    build = Builder(graph)
    unread, read = build.ops("Split", 2, graph.inputs[0], axis=1, num_outputs=2)
    add_output(graph, build.op("Neg", build.op("Exp", read)), "y", FLOAT, ["N", 50])
    build.at_end()
    assert all(unread not in turn.dead for turn in turns(list(graph)))
    assert find_peak(graph, batch=1, ratios=[]).bytes == 3 * 200, "the unread half, and two at a time"


def test_a_selection_makes_a_tensor_of_each_side() -> None:
    graph = graph_of(100)
    build = Builder(graph)
    flags = build.op("Greater", graph.inputs[0], 0.0)
    add_output(graph, build.op("Where", flags, graph.inputs[0], 0.0), "y", FLOAT, ["N", 100])
    build.at_end()
    assert find_peak(graph, batch=1, ratios=[]).bytes == 100 + 3 * 400


def test_large_buffers_are_whole_pages() -> None:
    assert resident(MAPPED - 1) == MAPPED - 1
    assert resident(3 * PAGE) == 4 * PAGE, "there is a header in front"
    assert resident(3 * PAGE - 1000) == 3 * PAGE
