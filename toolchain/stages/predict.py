"""The forward graph for a device, alone: what predicts where nothing trains, and beside a step."""

from graphs.check import run_passes
from graphs.losses import append_loss
from graphs.passes.pipeline import predicting
from toolchain.artifacts import Forms, Lowered, Traced
from toolchain.methods.declaration import Method


def predict(traced: Traced, method: Method) -> Forms:
    """Outputs are the logits, their mean entropy as `loss`, and what the running statistics become."""
    return Forms(_form(traced, method, native=False), _form(traced, method, native=True))


def _form(traced: Traced, method: Method, native: bool) -> Lowered:
    forward = traced.forward.clone()
    append_loss(forward.graph)
    names = tuple(traced.tensors)
    run_passes(forward, predicting(names, method.statistics, method.momentum, method.source_samples, native))
    return Lowered(forward, (), ())
