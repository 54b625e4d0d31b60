"""The operators of our own, by their meaning in standard operators, against numpy."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphs.build import Builder, add_input, add_output
from graphs.ops import inlined
from graphs.tensor_size import kept_count

FLOATS = st.floats(-100, 100, width=32)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=9)
RATIOS = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0]) | st.floats(0, 1, width=32)


def _session(*outputs: str) -> onnxruntime.InferenceSession:
    """x float32 of rank `rank`, ratio [1] -> values, bits, dense, unpacked."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="operators")
    x = add_input(graph, "x", ir.DataType.FLOAT, ["n"])
    shape = add_input(graph, "shape", ir.DataType.INT64, ["rank"])
    ratio = add_input(graph, "ratio", ir.DataType.FLOAT, [1])
    build = Builder(graph)
    shaped = build.op("Reshape", x, shape)
    values, bits = build.own("Sparsify", 2, shaped, ratio)
    (dense,) = build.own("Densify", 1, values, bits, shape)
    (packed,) = build.own("PackMask", 1, build.op("Greater", shaped, 0.0))
    (unpacked,) = build.own("UnpackMask", 1, packed, shape)
    build.at_end()
    found = {"values": values, "bits": bits, "dense": dense, "packed": packed, "unpacked": unpacked}
    kinds = {"bits": ir.DataType.UINT8, "packed": ir.DataType.UINT8, "unpacked": ir.DataType.BOOL}
    for name in outputs:
        value = found[name]
        add_output(graph, value, name, kinds.get(name, ir.DataType.FLOAT), ["?"])
        value.shape = None
    model = inlined(ir.Model(graph, ir_version=10))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)


@pytest.fixture(scope="module")
def operators() -> onnxruntime.InferenceSession:
    return _session("values", "bits", "dense", "packed", "unpacked")


def _run(session: onnxruntime.InferenceSession, x: np.ndarray, ratio: float) -> dict[str, np.ndarray]:
    feeds = {"x": x.reshape(-1), "shape": np.array(x.shape, np.int64), "ratio": np.array([ratio], np.float32)}
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def _largest(x: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest magnitudes, ties first in order, in order."""
    return np.sort(np.argsort(-np.abs(x.reshape(-1)), kind="stable")[:count])


@given(x=SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=FLOATS)), ratio=RATIOS)
def test_sparsify_keeps_the_largest(operators: onnxruntime.InferenceSession, x: np.ndarray, ratio: float) -> None:
    found = _run(operators, x, ratio)
    places = _largest(x, kept_count(x.size, ratio))
    mask = np.zeros(x.size, bool)
    mask[places] = True
    np.testing.assert_array_equal(found["values"], x.reshape(-1)[places])
    np.testing.assert_array_equal(found["bits"], np.packbits(mask, bitorder="little"))
    np.testing.assert_array_equal(found["dense"].reshape(-1), np.where(mask, x.reshape(-1), 0))


@given(x=SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=FLOATS)))
def test_densify_undoes_sparsify_where_nothing_is_pruned(
    operators: onnxruntime.InferenceSession, x: np.ndarray
) -> None:
    np.testing.assert_array_equal(_run(operators, x, 0.0)["dense"], x)


@given(x=SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=FLOATS)))
def test_masks_survive_packing(operators: onnxruntime.InferenceSession, x: np.ndarray) -> None:
    found = _run(operators, x, 0.5)
    np.testing.assert_array_equal(found["unpacked"], x > 0)
    assert found["packed"].size == -(-x.size // 8)


@pytest.mark.parametrize("x", [np.zeros(17), np.ones(9), -np.ones(8), np.array([0.0, -0.0, 3.0])], ids=str)
def test_ties_are_kept_first_in_order(operators: onnxruntime.InferenceSession, x: np.ndarray) -> None:
    kept = kept_count(x.size, 0.5)
    np.testing.assert_array_equal(_run(operators, x.astype(np.float32), 0.5)["values"], x[_largest(x, kept)])


def test_a_wrong_count_is_noticed(operators: onnxruntime.InferenceSession) -> None:
    """The negative control of the comparison above: another ratio gives another result."""
    x = np.arange(1, 41, dtype=np.float32)
    assert not np.array_equal(_run(operators, x, 0.5)["dense"], _run(operators, x, 0.525)["dense"])
