"""Whether a method suits a model."""

from toolchain.artifacts import Traced
from toolchain.errors import ModelError
from toolchain.methods.declaration import Method


def check_statistics(traced: Traced, method: Method) -> None:
    """Raises ModelError for a model without the BatchNorm whose statistics the method adapts or mixes."""
    if any(node.op_type == "BatchNormalization" for node in traced.forward.graph):
        return
    if method.optimizer is None and method.statistics == "batch":
        raise ModelError(f"method {method.name} adapts batchnorm layers, and {traced.model} has none: choose another")
    if method.source_samples:
        raise ModelError(f"--source-samples mixes statistics of batchnorm, and {traced.model} has none: leave it out")
