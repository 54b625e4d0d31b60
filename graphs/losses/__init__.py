"""Losses of test-time adaptation, as nodes behind the logits of a forward graph."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from graphs.losses.confident_entropy import append_confident_entropy
from graphs.losses.entropy import append_entropy

LOSSES: Mapping[str, Callable[[ir.Graph], None]] = {
    "entropy": append_entropy,
    "confident_entropy": append_confident_entropy,
}
