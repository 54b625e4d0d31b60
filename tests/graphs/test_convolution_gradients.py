"""The gradients of convolution in standard operators against autograd, on random geometries."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from graphs.build import Builder, add_input, add_output
from graphs.conv import ConvGeometry


@dataclass(frozen=True)
class Convolution:
    """inputs, outputs: channels a group; pads: the same on both sides."""

    groups: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    dilations: tuple[int, int]


CONVOLUTIONS = st.builds(
    Convolution,
    groups=st.sampled_from([1, 2, 3]),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
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


@settings(max_examples=60)
@given(chosen=CONVOLUTIONS)
def test_gradients_equal_autograd(chosen: Convolution) -> None:
    reach = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(chosen.kernel, chosen.dilations, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(chosen.size, chosen.pads, reach, strict=True)))
    torch.manual_seed(0)
    inputs, outputs = chosen.groups * chosen.inputs, chosen.groups * chosen.outputs
    x = torch.randn(2, inputs, *chosen.size, requires_grad=True)
    weight = torch.randn(outputs, chosen.inputs, *chosen.kernel, requires_grad=True)
    y = functional.conv2d(x, weight, None, chosen.strides, chosen.pads, chosen.dilations, chosen.groups)
    gradient = torch.randn_like(y)
    geometry = ConvGeometry(
        in_channels=inputs,
        out_channels=outputs,
        size=chosen.size,
        out_size=(y.shape[2], y.shape[3]),
        kernel=chosen.kernel,
        strides=chosen.strides,
        dilations=chosen.dilations,
        pads=(*chosen.pads, *chosen.pads),
        groups=chosen.groups,
    )
    found = _gradients(geometry, x.detach().numpy(), weight.detach().numpy(), gradient.numpy())
    for ours, theirs in zip(found, torch.autograd.grad(y, [x, weight], gradient), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
