"""The gradients of convolution in standard operators against autograd, on random geometries."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphs.build import Builder, add_input, add_output
from graphs.conv import ConvGeometry

GEOMETRIES = st.builds(
    dict,
    groups=st.sampled_from([1, 2, 3]),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1)]),
    strides=st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    pads=st.sampled_from([(0, 0), (1, 1), (2, 0)]),
    dilations=st.sampled_from([(1, 1), (2, 1)]),
)


def _gradients(
    geometry: ConvGeometry, x: np.ndarray, weight: np.ndarray, gradient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dX and dW by the compiled operators."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="convolution")
    fed = {"x": x, "w": weight, "dy": gradient}
    values = {name: add_input(graph, name, ir.DataType.FLOAT, array.shape) for name, array in fed.items()}
    build = Builder(graph)
    found = geometry.input_gradient(build, values["dy"], values["w"])
    of_weight = geometry.weight_gradient(build, values["dy"], values["x"])
    build.at_end()
    add_output(graph, found, "dx", ir.DataType.FLOAT, x.shape)
    add_output(graph, of_weight, "dw", ir.DataType.FLOAT, weight.shape)
    session = onnxruntime.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())
    dx, dw = session.run(["dx", "dw"], fed)
    return dx, dw


def _case(g: dict[str, object]) -> tuple[ConvGeometry, torch.Tensor, torch.Tensor, torch.Tensor]:
    groups, pads, kernel = g["groups"], g["pads"], g["kernel"]
    assert isinstance(groups, int) and isinstance(pads, tuple) and isinstance(kernel, tuple)
    channels, outputs = groups * int(str(g["inputs"])), groups * int(str(g["outputs"]))
    torch.manual_seed(0)
    x = torch.randn(2, channels, int(str(g["height"])), int(str(g["width"])), requires_grad=True)
    weight = torch.randn(outputs, channels // groups, *kernel, requires_grad=True)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, g["dilations"], strict=True)]  # type: ignore[call-overload]
    assume(all(size + 2 * pad >= r for size, pad, r in zip(x.shape[2:], pads, reach, strict=True)))
    y = torch.nn.functional.conv2d(x, weight, None, g["strides"], pads, g["dilations"], groups)  # type: ignore[arg-type]
    geometry = ConvGeometry(
        channels, outputs, tuple(x.shape[2:]), tuple(y.shape[2:]), kernel, g["strides"], g["dilations"],  # type: ignore[arg-type]
        (*pads, *pads), groups,
    )  # fmt: skip
    return geometry, x, weight, y


@settings(max_examples=60)
@given(chosen=GEOMETRIES)
def test_gradients_equal_autograd(chosen: dict[str, object]) -> None:
    geometry, x, weight, y = _case(chosen)
    gradient = torch.randn_like(y)
    expected = torch.autograd.grad(y, [x, weight], gradient)
    found = _gradients(geometry, x.detach().numpy(), weight.detach().numpy(), gradient.numpy())
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
