"""The few moments that stand for a whole step, against the simulation of the step."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphs
from graphs import allocation, footprints, kernel_scratch, own_sizes
from graphs.build import EARLY, LATE, Builder, add_input, add_output
from graphs.envelope import TOLERANCE, highest
from graphs.liveness import find_peak
from graphs.moments import Terms, Timeline, find_timeline
from graphs.ops import inlined
from graphs.passes.schedule import Schedule
from graphs.saved import find_stores
from tests.driver import tiny_bundle
from toolchain.driver import memory, needs
from toolchain.driver.manifest import Condition, Layer, Manifest, Moment, Store
from toolchain.driver.structure import decode

SIDES = (40_000, 20_000, 10_000)
"""Elements of each layer's activation for one image."""

PARAMETERS = ("first.weight", "second.weight", "third.weight")


def pruned_chain() -> ir.Model:
    """x0 w0 = x1, x1 w1 = x2 …, of which each x is pruned for the backward pass, which goes through them in reverse."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="chain")
    value = add_input(graph, "images", ir.DataType.FLOAT, ["N", SIDES[0]])
    ratios = add_input(graph, "prune_ratios", ir.DataType.FLOAT, [len(SIDES)])
    weights = [add_input(graph, name, ir.DataType.FLOAT, [1]) for name in PARAMETERS]
    build = Builder(graph)
    pieces = build.ops("Split", len(SIDES), ratios, np.ones(len(SIDES), np.int64), axis=0)
    kept = []
    for ratio, weight, elements in zip(pieces, weights, SIDES, strict=True):
        value = build.op("Mul", build.op("Slice", value, np.array([0]), np.array([elements]), np.array([1])), weight)
        kept.append((*build.marked(EARLY).own("Sparsify", 2, value, ratio), build.op("Shape", value)))
    add_input(graph, "loss_grad", ir.DataType.FLOAT, [1])
    gradient = build.op("Mul", value, graph.inputs[-1])
    for (values, places, shape), weight in reversed(list(zip(kept, weights, strict=True))):
        (dense,) = build.marked(LATE).own("Densify", 1, values, places, shape)
        gradient = build.op("Mul", build.op("ReduceSum", gradient), build.op("Mul", dense, weight))
    build.at_end()
    add_output(graph, gradient, "result", ir.DataType.FLOAT, ["N", SIDES[0]])
    model = ir.Model(graph, ir_version=10)
    Schedule()(model)
    return model


@pytest.fixture(scope="module", params=["portable", "native"])
def step(request: pytest.FixtureRequest) -> tuple[ir.Graph, Manifest]:
    """The chain, inlined or with our own operators, and a manifest that has its timeline."""
    model = pruned_chain()
    stores = find_stores(model.graph)
    graph = inlined(model).graph if request.param == "portable" else model.graph
    timeline = find_timeline(graph, Terms(stores, SIDES, 32), PARAMETERS)
    spans = zip(stores, timeline.spans, strict=True)
    manifest = decode(Manifest, {**tiny_bundle.manifest(), "files": {}})
    facts = replace(
        manifest.step,
        stores=tuple(Store(found.layers, found.union, span) for found, span in spans),
        saved=(),
        moments=moments_of(timeline),
        compact_places=request.param == "native",
    )
    return graph, replace(manifest, step=facts, layers=tuple(Layer(str(n), "conv", n) for n in SIDES))


def moments_of(timeline: Timeline) -> tuple[Moment, ...]:
    found = [(asdict(moment), moment.condition) for moment in timeline.moments]
    conditions = [Condition(i.source, i.share) if i is not None else None for _, i in found]
    return tuple(Moment(**{**facts, "condition": i}) for (facts, _), i in zip(found, conditions, strict=True))


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 32])
@pytest.mark.parametrize("seed", range(5))
def test_moments_predict_what_the_simulation_finds(step: tuple[ir.Graph, Manifest], batch: int, seed: int) -> None:
    graph, manifest = step
    ratios = np.random.default_rng(seed).choice([0.0, 0.3, 0.9, 0.95, 0.999, 1.0], len(SIDES)).astype(np.float32)
    simulated = find_peak(graph, batch, ratios.tolist()).bytes + allocation.fixed_bytes(graph)
    predicted = needs.predict_peak(manifest, manifest.step, batch, ratios).bytes
    assert predicted == pytest.approx(simulated, rel=0.02)


def test_few_moments_are_left_and_each_says_where_it_is(step: tuple[ir.Graph, Manifest]) -> None:
    graph, manifest = step
    moments = manifest.step.moments
    assert 3 <= len(moments) < len(graph) / 2
    assert {moment.layer for moment in moments} <= {"first", "second", "third"}
    assert [moment.backward for moment in moments] == sorted(moment.backward for moment in moments)


def test_a_store_spans_the_moments_from_its_making_to_its_last_use(step: tuple[ir.Graph, Manifest]) -> None:
    _, manifest = step
    first, second, third = (store.span for store in manifest.step.stores)
    assert first[0] <= second[0] <= third[0] < third[1] <= second[1] <= first[1]


row = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


@given(
    rows=st.lists(row, min_size=1, max_size=30),
    batch=st.integers(1, 50),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_the_highest_rows_stand_for_all(rows: list[list[int]], batch: int, shares: list[float]) -> None:
    weights = np.array([3.0, 7.0])
    table = np.array(rows)
    crowd = min(batch - 1, 7) / 7
    heights = table[:, 0] + (table[:, 1] - table[:, 0]) * crowd + table[:, 2] * batch
    heights = heights + table[:, 3:] @ (weights * np.array(shares) * batch)
    chosen = highest(table, [(False, None)] * len(rows), weights)
    assert chosen == sorted(set(chosen))
    assert heights[chosen].max() >= heights.max() / (1 + TOLERANCE) - 1e-6


def test_a_row_with_a_condition_stands_for_none_without() -> None:
    low, high = [1, 1, 1], [9, 9, 9]
    weights = np.zeros(0)
    assert highest(np.array([low, high]), [(False, None), (False, None)], weights) == [1]
    assert highest(np.array([low, high]), [(False, None), (False, 0)], weights) == [0, 1]
    assert highest(np.array([low, high]), [(False, 0), (False, None)], weights) == [1]
    assert highest(np.array([low, high]), [(False, None), (True, None)], weights) == [0, 1], "passes stay apart"


def test_builder_and_device_count_alike() -> None:
    sizes = [0, 100, allocation.MAPPED - 1, allocation.MAPPED, 12_192, 12_193, 1 << 20]
    assert [allocation.resident(size) for size in sizes] == [needs._resident(size) for size in sizes]
    assert (allocation.MAPPED, allocation.HEAP_EXPONENT) == (memory.RETURNED, needs.SORTING)
    assert footprints.CROWD == needs._CROWD
    for kept in [(0, 0), (10, 10), (80, 10), (10, 80), (90, 90), (100, 100)]:
        assert own_sizes.united(100, *kept) == needs.united(100, *kept)


def test_scratch_is_counted_as_the_kernels_take_it() -> None:
    kernels = Path(graphs.__file__).parent / "kernels"
    text = "".join(path.read_text() for path in sorted(kernels.glob("conv_weight_gradient*.c")))
    named = {name: eval(value) for name, value in re.findall(r"\b([A-Z_]{5,}) = (\d+(?: << \d+)?)\b", text)}
    assert named["MOST_BYTES"] == kernel_scratch.DENSE_BYTES
    assert all(named[name] == getattr(kernel_scratch, name) for name in ("SUMS_BYTES", "GRADIENT_BYTES", "FILLERS"))
    assert all(named[name] == getattr(kernel_scratch, name) for name in ("MOST_GROUPS", "LISTED"))
