"""Adapted weights in the inference graph: the fold, and the bytes of the ONNX file."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.driver import tiny_numpy
from tests.driver.tiny_bundle import random_images
from toolchain.driver.bundle import Bundle
from toolchain.driver.infer import open_session
from toolchain.driver.onnx_file import replace_initializers
from toolchain.driver.refit import BatchNorm, RefitEntry, fold_entry
from toolchain.errors import BundleError

NORM = BatchNorm(running_mean="mean", running_var="var", epsilon=1e-3, weight="gamma", bias="beta")
GENERATOR = np.random.default_rng(5)
TENSORS = {
    "w": GENERATOR.standard_normal((4, 3, 2, 2)).astype(np.float32),
    **{name: GENERATOR.standard_normal(4).astype(np.float32) for name in ("b", "mean", "gamma", "beta")},
    "var": GENERATOR.uniform(0.5, 2, 4).astype(np.float32),
}


def entry(kind: str, shape: "tuple[int, ...]", parameter: "str | None", norm: "BatchNorm | None" = NORM) -> np.ndarray:
    return fold_entry(RefitEntry("x", kind, shape, parameter, norm), TENSORS)


def normalised(x: np.ndarray) -> np.ndarray:
    """BatchNorm of [N, 4] in numpy."""
    t = TENSORS
    found: np.ndarray = (x - t["mean"]) / np.sqrt(t["var"] + 1e-3) * t["gamma"] + t["beta"]
    return found


def test_weight_and_bias_fold_a_convolution_with_its_norm() -> None:
    x = GENERATOR.standard_normal((5, 12)).astype(np.float32)
    dense, matrix = normalised(x @ TENSORS["w"].reshape(4, 12).T + TENSORS["b"]), entry("weight", (4, 3, 2, 2), "w")
    np.testing.assert_allclose(x @ matrix.reshape(4, 12).T + entry("bias", (4,), "b"), dense, rtol=1e-4, atol=1e-5)
    without = normalised(x @ TENSORS["w"].reshape(4, 12).T)
    np.testing.assert_allclose(x @ matrix.reshape(4, 12).T + entry("bias", (4,), None), without, rtol=1e-4, atol=1e-5)


def test_scale_and_shift_stand_for_a_norm_alone() -> None:
    x = GENERATOR.standard_normal((5, 4)).astype(np.float32)
    scale, shift = entry("scale", (1, 4, 1, 1), None), entry("shift", (1, 4, 1, 1), None)
    assert scale.shape == shift.shape == (1, 4, 1, 1)
    np.testing.assert_allclose(x * scale.reshape(4) + shift.reshape(4), normalised(x), rtol=1e-4, atol=1e-5)


def test_without_norm_and_copy() -> None:
    np.testing.assert_array_equal(entry("weight", (4, 3, 2, 2), "w", None), TENSORS["w"])
    np.testing.assert_array_equal(entry("copy", (4, 12), "w", None), TENSORS["w"].reshape(4, 12))
    np.testing.assert_array_equal(entry("bias", (4,), None, None), np.zeros(4))


@pytest.mark.parametrize(("kind", "shape", "parameter"), [("copy", (4, 12), "w"), ("bias", (4,), "b")])
def test_what_is_folded_keeps_its_values_when_tensors_change(
    kind: str, shape: "tuple[int, ...]", parameter: str
) -> None:
    """A predictor may go back to the weights of the last refit while a step overwrites the parameters."""
    assert not np.shares_memory(entry(kind, shape, parameter, None), TENSORS[parameter])


def test_norm_without_affine_parameters() -> None:
    plain = BatchNorm(running_mean="mean", running_var="var", epsilon=1e-3)
    expected = -TENSORS["mean"] / np.sqrt(TENSORS["var"] + 1e-3)
    np.testing.assert_allclose(entry("shift", (4,), None, plain), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shape", "parameter"), [("fold", (4,), "b"), ("copy", (5,), "b"), ("copy", (4,), "zz")]
)
def test_entry_that_cannot_be_computed(kind: str, shape: "tuple[int, ...]", parameter: str) -> None:
    with pytest.raises(BundleError, match="refit entry x"):
        entry(kind, shape, parameter)


def test_every_optimisation_sees_replaced_weights() -> None:
    model, weights = convolution(raw=True), fresh_weights()
    patched = onnxruntime.InferenceSession(replace_initializers(model, weights), providers=["CPUExecutionProvider"])
    images = GENERATOR.standard_normal((2, 3, 8, 8)).astype(np.float32)
    expected = convolve(images, weights["w"]) * weights["s"]
    np.testing.assert_allclose(patched.run(None, {"x": images})[0], expected, atol=1e-4)
    shipped = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": images})[0]
    assert np.abs(shipped - expected).max() > 0.1


def test_weights_stored_as_a_list_of_floats() -> None:
    weights = fresh_weights()
    model = onnx.load_from_string(replace_initializers(convolution(raw=False), weights))
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])


@pytest.mark.parametrize(
    "arrays", [{"zz": np.zeros(1, np.float32)}, {"s": np.zeros(3, np.float32)}, {"s": np.zeros(8)}]
)
def test_weights_that_do_not_fit(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(BundleError, match="no float32 initialiser"):
        replace_initializers(convolution(raw=True), arrays)


def test_inference_with_adapted_state_agrees_with_numpy(shipped: Path) -> None:
    images, state = random_images(3), tiny_numpy.initial_state()
    adapted = tiny_numpy.step(state, images, np.zeros(2, np.float32), 0.5).state
    adapted = {name: array.astype(np.float32) for name, array in adapted.items()}
    found = open_session(Bundle(shipped), adapted, threads=1).run("images", images, "logits")
    np.testing.assert_allclose(found, tiny_numpy.infer(adapted, images), atol=1e-5)
    assert np.abs(found - tiny_numpy.infer(state, images)).max() > 1e-2


def fresh_weights() -> dict[str, np.ndarray]:
    return {
        "w": GENERATOR.standard_normal((8, 3, 1, 1)).astype(np.float32),
        "s": GENERATOR.standard_normal((1, 8, 1, 1)).astype(np.float32),
    }


def convolve(images: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("nchw,oc->nohw", images, weight[:, :, 0, 0]))


def convolution(raw: bool) -> bytes:
    """Conv and Mul with other weights, which the optimiser fuses into one."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "s"], ["y"])]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", c, 8, 8]) for name, c in (("x", 3), ("y", 8))
    ]
    tensors = [
        numpy_helper.from_array(array, name)
        if raw
        else helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.reshape(-1))
        for name, array in fresh_weights().items()
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return helper.make_model(  # type: ignore[no-any-return]
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
