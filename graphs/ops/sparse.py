"""A tensor as its largest elements and one bit per element that says where they are."""

from onnxscript import FLOAT, INT64, UINT8, script
from onnxscript import opset18 as op

from graphs.ops.bits import DOMAIN, PackMask, UnpackMask


@script(DOMAIN, default_opset=op)
def Sparsify(dense: FLOAT[...], prune_ratio: FLOAT[...]):  # noqa: N802 (two outputs)
    """The floor(n (1 - prune_ratio)) elements of `dense` that are largest in magnitude, ties first in order.

    dense: float32 of any shape, n elements. prune_ratio: float32 [1] in [0, 1]; the count is computed in float64.
    Returns the kept values in order, float32 [k], and their places, uint8 [ceil(n / 8)] as PackMask writes them.
    ONNX Runtime keeps an output that nothing reads to the end of the step, so the length of TopK's values is read.
    Source: SURGEON (CVPR 2025) section 3.2; the bitmap is Back Razor's (NeurIPS 2022).
    """
    flat = op.Reshape(dense, op.Constant(value_ints=[-1]))
    size = op.Shape(flat)
    keep_ratio = op.Sub(op.Cast(op.Constant(value_floats=[1.0]), to=11), op.Cast(prune_ratio, to=11))
    count = op.Cast(op.Floor(op.Mul(op.Cast(size, to=11), keep_ratio)), to=7)
    largest, places = op.TopK(op.Abs(flat), count, axis=0, largest=1, sorted=0)
    everywhere = op.Expand(op.Cast(op.Constant(value_ints=[1]), to=9), op.Shape(largest))
    nowhere = op.Cast(op.ConstantOfShape(size), to=9)
    mask = op.ScatterElements(nowhere, places, everywhere, axis=0)
    values = op.Compress(flat, mask)
    return values, PackMask(mask)


@script(DOMAIN, default_opset=op)
def Densify(values: FLOAT[...], bits: UINT8[...], shape: INT64[...]) -> FLOAT[...]:  # noqa: N802
    """The tensor of that shape with `values` at the places set in `bits`, in order, and zeros elsewhere.

    MaxUnpool is the one standard operator that scatters without copying a dense tensor, but it refuses to scatter
    nothing: where no value is kept, a zero is scattered to place 0.
    """
    flat = op.Constant(value_ints=[-1])
    row = op.Constant(value_ints=[1, 1, -1])
    places = op.Reshape(op.NonZero(op.Reshape(UnpackMask(bits, shape), flat)), flat)
    one = op.Constant(value_ints=[1])
    spare_place = op.Slice(op.Constant(value_ints=[0]), op.Shape(values), one)
    spare_value = op.Slice(op.Constant(value_floats=[0.0]), op.Shape(values), one)
    all_values = op.Reshape(op.Concat(values, spare_value, axis=0), row)
    all_places = op.Reshape(op.Concat(places, spare_place, axis=0), row)
    size = op.Concat(one, one, op.ReduceProd(shape, keepdims=1), axis=0)
    return op.Reshape(op.MaxUnpool(all_values, all_places, size, kernel_shape=[1]), shape)
