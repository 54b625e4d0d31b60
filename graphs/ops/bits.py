"""Eight flags in a byte, the first in the lowest bit."""

import onnxscript
from onnxscript import BOOL, INT64, UINT8
from onnxscript import opset18 as op

from graphs.build import OWN_DOMAIN

DOMAIN = onnxscript.values.Opset(OWN_DOMAIN, 1)


@onnxscript.script(DOMAIN, default_opset=op)
def PackMask(mask: BOOL[...]) -> UINT8[...]:  # noqa: N802 (operators are named as ONNX names them)
    """The flags of `mask`, of any shape, as uint8 [ceil(n / 8)]; bits past the end are zero."""
    count = op.Size(mask)
    missing = op.Mod(op.Neg(count), op.Constant(value_int=8))
    nothing = op.Constant(value_ints=[0])
    pads = op.Concat(nothing, op.Reshape(missing, op.Constant(value_ints=[1])), axis=0)
    flags = op.Pad(op.Cast(op.Reshape(mask, op.Constant(value_ints=[-1])), to=2), pads)
    groups = op.Reshape(flags, op.Constant(value_ints=[-1, 8]))
    weights = op.Cast(op.Constant(value_ints=[1, 2, 4, 8, 16, 32, 64, 128]), to=2)
    sums = op.MatMulInteger(groups, op.Reshape(weights, op.Constant(value_ints=[8, 1])))
    return op.Reshape(op.Cast(sums, to=2), op.Constant(value_ints=[-1]))


@onnxscript.script(DOMAIN, default_opset=op)
def UnpackMask(bits: UINT8[...], shape: INT64[...]) -> BOOL[...]:  # noqa: N802
    """The inverse of PackMask: the first prod(shape) flags of `bits` as bool of that shape."""
    weights = op.Cast(op.Constant(value_ints=[1, 2, 4, 8, 16, 32, 64, 128]), to=2)
    column = op.Reshape(bits, op.Constant(value_ints=[-1, 1]))
    flags = op.Cast(op.BitwiseAnd(column, op.Reshape(weights, op.Constant(value_ints=[1, 8]))), to=9)
    count = op.ReduceProd(shape, keepdims=1)
    flat = op.Reshape(flags, op.Constant(value_ints=[-1]))
    return op.Reshape(op.Slice(flat, op.Constant(value_ints=[0]), count), shape)
