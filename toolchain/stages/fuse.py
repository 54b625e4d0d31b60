"""The training graph as one step in the native kernels, for stock ONNX Runtime with their library."""

from graphs.check import run_passes
from graphs.layers import Layer
from graphs.passes.anchor_parameters import AnchorParameters
from graphs.passes.mix_statistics import MixStatistics
from graphs.passes.normalize_with_mecta import NormalizeWithMecta
from graphs.passes.pipeline import fusing
from graphs.passes.rewrite import Pass
from graphs.passes.update_in_place import AccumulateInPlace, AdamInPlace, MomentumInPlace
from graphs.saved import find_saved, find_stores
from toolchain.artifacts import Differentiated, Lowered, Rewritten
from toolchain.methods.declaration import Adam, Method


def fuse(differentiated: Differentiated, rewritten: Rewritten, method: Method, half: bool = False) -> Lowered:
    """half: kept values in half precision."""
    step = differentiated.training.clone()
    trained, layers = differentiated.trained, rewritten.layers
    update, norms = _update(method, trained), _norms(method, layers)
    run_passes(step, fusing(layers, trained, update, method.momentum, half, *norms))
    return Lowered(step, find_stores(step.graph), find_saved(step.graph))


def _norms(method: Method, layers: tuple[Layer, ...]) -> tuple[Pass | None, MixStatistics | None]:
    """What is unusual about its BatchNorm."""
    chosen, samples = method.mecta, method.source_samples
    mecta = NormalizeWithMecta(layers, chosen.threshold, chosen.drop, native=True) if chosen is not None else None
    return mecta, MixStatistics(samples, method.momentum, native=True) if samples else None


def _update(method: Method, trained: tuple[str, ...]) -> tuple[Pass, ...]:
    """What becomes of the gradients."""
    chosen = method.optimizer
    anchor = (AnchorParameters(trained, method.anchor.strength),) if method.anchor is not None else ()
    if method.update == "driver":
        return (*anchor, AccumulateInPlace(trained))
    if isinstance(chosen, Adam):
        return (*anchor, AdamInPlace(trained, chosen.beta1, chosen.beta2, chosen.epsilon))
    assert chosen is not None
    return (*anchor, MomentumInPlace(trained, chosen.momentum, chosen.nesterov))
