"""The operators of our own, each with its meaning as an ONNX function of standard operators."""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedFunctionsPass, RemoveUnusedOpsetsPass

from graphs.build import OWN_DOMAIN
from graphs.ops.bits import PackMask, UnpackMask
from graphs.ops.sparse import Densify, Sparsify

FUNCTIONS = (Sparsify, Densify, PackMask, UnpackMask)


def with_functions(model: ir.Model) -> ir.Model:
    """A copy of `model` that carries the meaning of every operator of ours."""
    copy = with_own_operators(model)
    for function in FUNCTIONS:
        meaning = ir.serde.deserialize_function(function.to_function_proto())
        copy.functions[meaning.identifier()] = meaning
    return copy


def with_own_operators(model: ir.Model) -> ir.Model:
    """A copy of `model` that names the domain of our operators and leaves their meaning to a library of kernels."""
    copy = model.clone()
    copy.graph.opset_imports[OWN_DOMAIN] = 1
    return copy


def inlined(model: ir.Model) -> ir.Model:
    """A copy of `model` in which our operators are replaced by their meaning, in place: the node order stays."""
    copy = with_functions(model)
    for finish in (InlinePass(), RemoveUnusedFunctionsPass(), RemoveUnusedOpsetsPass()):
        finish(copy)
    return copy
