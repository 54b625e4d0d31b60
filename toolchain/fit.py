"""Whether a method suits a model."""

from toolchain.artifacts import Traced
from toolchain.errors import ModelError
from toolchain.methods.declaration import Method


def check_statistics(traced: Traced, method: Method) -> None:
    """Raises ModelError for a model whose BatchNorm has not the statistics that the method adapts or mixes."""
    norms = [node for node in traced.forward.graph if node.op_type == "BatchNormalization"]
    means = [node.inputs[3] for node in norms]
    for mean in set(means):
        if method.statistics == "batch" and mean is not None and means.count(mean) > 1:
            raise ModelError(f"{mean.name} would follow two places of {traced.model}: a BatchNorm must be used once")
    if norms:
        return
    if method.optimizer is None and method.statistics == "batch":
        raise ModelError(f"method {method.name} adapts batchnorm layers, and {traced.model} has none: choose another")
    if method.source_samples:
        raise ModelError(f"--source-samples mixes statistics of batchnorm, and {traced.model} has none: leave it out")
