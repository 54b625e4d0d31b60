"""The training graph with every saved activation pruned."""

import onnx_ir as ir

from graphs.check import run_passes
from graphs.layers import Layer, UnprunableLayer, find_layers
from graphs.passes.mix_statistics import MixStatistics
from graphs.passes.normalize_with_mecta import NormalizeWithMecta
from graphs.passes.pipeline import rewriting
from graphs.passes.rewrite import Pass
from graphs.saved import dense_saved_bytes
from toolchain.artifacts import Differentiated, Rewritten
from toolchain.errors import ModelError
from toolchain.methods.declaration import Method


def rewrite(differentiated: Differentiated, half: bool = False, method: Method | None = None) -> Rewritten:
    """half: kept values wait in half precision. method: for what it does with BatchNorm; None: the usual.

    Raises ModelError for a trained weight whose gradient is not formed from one activation.
    """
    training = differentiated.training.clone()
    layers = _layers(training, differentiated.trained)
    dense = dense_saved_bytes(training.graph, batch=1)
    run_passes(training, rewriting(layers, differentiated.trained, half, *_norms(method, layers)))
    return Rewritten(training, layers, dense)


def _norms(method: Method | None, layers: tuple[Layer, ...]) -> tuple[Pass | None, MixStatistics | None]:
    """What is unusual about its BatchNorm."""
    if method is None:
        return None, None
    chosen, samples = method.mecta, method.source_samples
    mecta = NormalizeWithMecta(layers, chosen.threshold, chosen.drop) if chosen is not None else None
    return mecta, MixStatistics(samples, method.momentum, native=False) if samples else None


def _layers(training: ir.Model, trained: tuple[str, ...]) -> tuple[Layer, ...]:
    try:
        return find_layers(training.graph, trained)
    except UnprunableLayer as error:
        raise ModelError(f"the weight {error} is used more than once: only layers used once can be trained") from error
