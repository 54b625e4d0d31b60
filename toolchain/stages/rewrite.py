"""The training graph with every saved activation pruned."""

import onnx_ir as ir

from graphs.check import run_passes
from graphs.layers import Layer, UnprunableLayer, find_layers
from graphs.passes.normalize_with_mecta import NormalizeWithMecta
from graphs.passes.pipeline import rewriting
from graphs.saved import dense_saved_bytes
from toolchain.artifacts import Differentiated, Rewritten
from toolchain.errors import ModelError
from toolchain.methods.declaration import Mecta


def rewrite(differentiated: Differentiated, half: bool = False, norms: Mecta | None = None) -> Rewritten:
    """half: kept values wait in half precision. norms: MECTA's, where the method has them.

    Raises ModelError for a trained weight whose gradient is not formed from one activation.
    """
    training = differentiated.training.clone()
    layers = _layers(training, differentiated.trained)
    dense = dense_saved_bytes(training.graph, batch=1)
    mecta = NormalizeWithMecta(layers, norms.threshold, norms.drop) if norms is not None else None
    run_passes(training, rewriting(layers, differentiated.trained, half, mecta))
    return Rewritten(training, layers, dense)


def _layers(training: ir.Model, trained: tuple[str, ...]) -> tuple[Layer, ...]:
    try:
        return find_layers(training.graph, trained)
    except UnprunableLayer as error:
        raise ModelError(f"the weight {error} is used more than once: only layers used once can be trained") from error
