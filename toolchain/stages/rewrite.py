"""The training graph with every saved activation pruned."""

from graphs.check import run_passes
from graphs.layers import find_layers
from graphs.passes.pipeline import rewriting
from graphs.saved import dense_saved_bytes
from toolchain.artifacts import Differentiated, Rewritten


def rewrite(differentiated: Differentiated) -> Rewritten:
    training = differentiated.training.clone()
    layers = find_layers(training.graph, differentiated.trained)
    dense = dense_saved_bytes(training.graph, batch=1)
    run_passes(training, rewriting(layers))
    return Rewritten(training, layers, dense)
