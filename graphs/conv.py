"""The gradients of a two-dimensional convolution in standard operators."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphs.build import Builder

CHANNELS_FIRST = (1, 0, 2, 3)
END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution of [N, in_channels, height, width] to [N, out_channels, out_height, out_width]."""

    in_channels: int
    out_channels: int
    size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    groups: int

    @classmethod
    def of(cls, node: ir.Node) -> "ConvGeometry":
        """Reads a ConvGrad(dY, X, W) node."""
        gradient, activation, weight = node.inputs[:3]
        attributes = node.attributes
        height, width = _dims(activation)[2:]
        out_height, out_width = _dims(gradient)[2:]
        out_channels, group_channels, kernel_height, kernel_width = _dims(weight)
        groups = attributes["group"].as_int() if "group" in attributes else 1
        strides = tuple(attributes["strides"].as_ints()) if "strides" in attributes else (1, 1)
        dilations = tuple(attributes["dilations"].as_ints()) if "dilations" in attributes else (1, 1)
        pads = tuple(attributes["pads"].as_ints()) if "pads" in attributes else (0, 0, 0, 0)
        return cls(
            in_channels=group_channels * groups,
            out_channels=out_channels,
            size=(height, width),
            out_size=(out_height, out_width),
            kernel=(kernel_height, kernel_width),
            strides=(strides[0], strides[1]),
            dilations=(dilations[0], dilations[1]),
            pads=(pads[0], pads[1], pads[2], pads[3]),
            groups=groups,
        )

    @property
    def is_pointwise(self) -> bool:
        """A matrix product per pixel, once the strides are taken."""
        return self.kernel == (1, 1) and self.groups == 1 and not any(self.pads)

    def input_gradient(self, build: Builder, gradient: ir.Value | None, weight: ir.Value | None) -> ir.Value:
        """dX = the transposed convolution of dY with W; needs no activation."""
        if self.is_pointwise and self.strides == (1, 1):
            return self._pointwise_input_gradient(build, gradient, weight)
        return build.op(
            "ConvTranspose",
            gradient,
            weight,
            group=self.groups,
            strides=self.strides,
            dilations=self.dilations,
            pads=self.pads,
            output_padding=self._output_padding(),
        )

    def weight_gradient(self, build: Builder, gradient: ir.Value | None, activation: ir.Value | None) -> ir.Value:
        """dW[o, i, kh, kw] = sum over n, y, x of dY[n, o, y, x] X[n, i, y s + kh d - p, x s + kw d - p]."""
        if self.is_pointwise:
            return self._pointwise_weight_gradient(build, gradient, activation)
        return self._correlate(build, gradient, activation)

    def _pointwise_input_gradient(self, build: Builder, gradient: ir.Value | None, weight: ir.Value | None) -> ir.Value:
        pixels = build.op("Reshape", gradient, np.array([0, self.out_channels, -1]))
        matrix = build.op("Reshape", weight, np.array([self.out_channels, self.in_channels]))
        product = build.op("MatMul", build.op("Transpose", matrix, perm=(1, 0)), pixels)
        return build.op("Reshape", product, np.array([0, self.in_channels, *self.size]))

    def _pointwise_weight_gradient(
        self, build: Builder, gradient: ir.Value | None, activation: ir.Value | None
    ) -> ir.Value:
        if self.strides != (1, 1):
            starts, ends = np.array([0, 0]), np.array([END, END])
            activation = build.op("Slice", activation, starts, ends, np.array([2, 3]), np.array(self.strides))
        rows = _channel_rows(build, gradient, self.out_channels)
        columns = _channel_rows(build, activation, self.in_channels)
        product = build.op("Gemm", rows, columns, transB=1)
        return build.op("Reshape", product, np.array([self.out_channels, self.in_channels, 1, 1]))

    def _correlate(self, build: Builder, gradient: ir.Value | None, activation: ir.Value | None) -> ir.Value:
        """A convolution of the activation, its batch taken as channels, with the gradient as the kernel."""
        windows = self._grouped(build, activation, self.in_channels, batch_first=False)
        kernels = self._grouped(build, gradient, self.out_channels, batch_first=True)
        product = build.op(
            "Conv",
            windows,
            kernels,
            group=self.groups,
            pads=self.pads,
            strides=self.dilations,
            dilations=self.strides,
        )
        starts, ends = np.array([0, 0]), np.array(self.kernel)
        cropped = build.op("Slice", product, starts, ends, np.array([2, 3]))
        return build.op("Transpose", cropped, perm=CHANNELS_FIRST)

    def _grouped(self, build: Builder, value: ir.Value | None, channels: int, batch_first: bool) -> ir.Value:
        """[N, groups * c, H, W] as [c, groups * N, H, W], or with batch_first as [groups * c, N, H, W]."""
        if self.groups == 1 or batch_first:
            return build.op("Transpose", value, perm=CHANNELS_FIRST)
        height, width = self.size
        split = build.op("Reshape", value, np.array([0, self.groups, channels // self.groups, height, width]))
        turned = build.op("Transpose", split, perm=(2, 1, 0, 3, 4))
        return build.op("Reshape", turned, np.array([channels // self.groups, -1, height, width]))

    def _output_padding(self) -> tuple[int, int]:
        """The rows and columns of the input that the strided kernel does not reach."""
        reached = [
            (self.out_size[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
            for axis in (0, 1)
        ]
        padded = [self.size[axis] + self.pads[axis] + self.pads[axis + 2] for axis in (0, 1)]
        return padded[0] - reached[0], padded[1] - reached[1]


def bias_gradient(build: Builder, node: ir.Node) -> ir.Value | None:
    """[out_channels], of a ConvGrad; None where it gives none, as the bias does not train."""
    given = any(output.name for output in node.outputs[2:])
    return build.op("ReduceSum", node.inputs[0], np.array([0, 2, 3]), keepdims=0) if given else None


def _channel_rows(build: Builder, value: ir.Value | None, channels: int) -> ir.Value:
    """[N, C, H, W] as [C, N H W]."""
    turned = build.op("Transpose", value, perm=CHANNELS_FIRST)
    return build.op("Reshape", turned, np.array([channels, -1]))


def _dims(value: ir.Value | None) -> list[int]:
    """The dimensions of `value`, the free ones as -1."""
    assert value is not None and value.shape is not None, f"the shape of {value} is unknown"
    return [dim if isinstance(dim, int) else -1 for dim in value.shape.dims]
