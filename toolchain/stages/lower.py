"""The training graph as one step in standard operators, for stock ONNX Runtime."""

import onnx_ir as ir

from graphs.build import OWN_DOMAIN
from graphs.check import run_passes
from graphs.origin import module_of
from graphs.passes.anchor_parameters import AnchorParameters
from graphs.passes.pipeline import lowering
from graphs.passes.rewrite import Pass
from graphs.passes.update_parameters import AccumulateGradients, UpdateWithAdam, UpdateWithMomentum
from graphs.saved import find_saved, find_stores
from toolchain.artifacts import Differentiated, Lowered, Rewritten, Traced
from toolchain.errors import ModelError
from toolchain.methods.declaration import Adam, Method


def lower(traced: Traced, rewritten: Rewritten, differentiated: Differentiated, method: Method) -> Lowered:
    """Raises ModelError when an operator of the differentiating engine remains, naming the module it came from."""
    step = rewritten.training.clone()
    run_passes(step, lowering(_update(method, differentiated.trained), method.momentum))
    _refuse_foreign_operators(step.graph, traced.forward.graph)
    return Lowered(step, find_stores(step.graph), find_saved(step.graph))


def _refuse_foreign_operators(graph: ir.Graph, forward: ir.Graph) -> None:
    foreign = {node.op_type: node for node in graph if node.domain not in ("", OWN_DOMAIN)}
    if foreign:
        names = ", ".join(f"{op_type} in module {_origin(node, forward)}" for op_type, node in foreign.items())
        raise ModelError(f"no standard operators are known for {names}: choose a model that does without")


def _origin(node: ir.Node, forward: ir.Graph) -> str:
    """Where the forward node is from whose gradient, or whose fused form, `node` is."""
    name = str(node.name).partition("/")[0].removesuffix("_Grad")
    return next((module_of(found) for found in forward if found.name == name), f"of node {node.name}")


def _update(method: Method, trained: tuple[str, ...]) -> tuple[Pass, ...]:
    """What becomes of the gradients."""
    chosen = method.optimizer
    anchor = (AnchorParameters(trained, method.anchor.strength),) if method.anchor is not None else ()
    if method.update == "driver":
        return (*anchor, AccumulateGradients(trained))
    if isinstance(chosen, Adam):
        return (*anchor, UpdateWithAdam(trained, chosen.beta1, chosen.beta2, chosen.epsilon))
    assert chosen is not None
    return (*anchor, UpdateWithMomentum(trained, chosen.momentum, chosen.nesterov))
