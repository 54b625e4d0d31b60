"""What the bundle computes on the machine that built it, recorded so that every other machine can compare."""

from pathlib import Path

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.infer import open_session
from toolchain.driver.manifest import Manifest
from toolchain.driver.step import PORTABLE, Step, example_feeds

SAMPLES = 2
TOLERANCE = 2e-2
"""Relative to the largest magnitude: a flipped ReLU moves gradients by about 1 % in deep networks."""


def record(folder: Path) -> None:
    """Runs the sealed bundle's own driver on seeded images; writes the results to reference/step.npz."""
    bundle = Bundle(folder)
    facts = bundle.manifest
    random = np.random.default_rng(0)
    side = facts.model.image_size
    images = random.standard_normal((SAMPLES, facts.model.channels, side, side), np.float32)
    ratios = random.uniform(0.3, 0.9, len(facts.layers)).astype(np.float32)
    step = Step(bundle, operators=PORTABLE)
    feeds = example_feeds(step.facts, facts.model.classes, SAMPLES, random)
    result = step.run(images, ratios, facts.method.learning_rate, feeds)
    recorded = {
        "images": images,
        "prune_ratios": ratios,
        "learning_rate": np.array([facts.method.learning_rate], np.float32),
        **feeds,
        "logits": result.logits,
        "loss": np.array(result.loss),
        "grad_rms": result.grad_rms,
        "kept_elements": result.kept_elements,
        "infer_logits": open_session(bundle, None, None).run(facts.infer.input, images, facts.infer.output),
        "tolerance": np.array(TOLERANCE),
        **{f"updated/{name}": step.tensors[name] for name in _moved(facts)},
    }
    np.savez(folder / facts.reference, allow_pickle=False, **recorded)


def _moved(facts: Manifest) -> list[str]:
    """What the step changes of its first and its last layer: the weight, or where its gradient goes."""
    ends = [layer.parameter for layer in (*facts.layers[:1], *facts.layers[-1:]) if layer.parameter]
    buffers = {tensor.name for tensor in facts.step.inputs_of("gradient")}
    return [f"{name}.gradient" if f"{name}.gradient" in buffers else name for name in ends]
