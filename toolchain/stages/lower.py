"""The training graph as one step in standard operators, for stock ONNX Runtime."""

from graphs.check import run_passes
from graphs.passes.pipeline import lowering
from graphs.passes.rewrite import Pass
from graphs.passes.update_parameters import UpdateWithAdam, UpdateWithMomentum
from graphs.saved import find_saved
from toolchain.artifacts import Differentiated, Lowered, Rewritten
from toolchain.methods.declaration import Adam, Method


def lower(rewritten: Rewritten, differentiated: Differentiated, method: Method) -> Lowered:
    step = rewritten.training.clone()
    run_passes(step, lowering(_update(method, differentiated.trained), method.momentum))
    return Lowered(step, find_saved(step.graph))


def _update(method: Method, trained: tuple[str, ...]) -> Pass:
    chosen = method.optimizer
    if isinstance(chosen, Adam):
        return UpdateWithAdam(trained, chosen.beta1, chosen.beta2, chosen.epsilon)
    return UpdateWithMomentum(trained, chosen.momentum)
