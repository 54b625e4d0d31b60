"""What the bundle computes on the machine that built it, recorded so that every other machine can compare."""

from pathlib import Path

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.infer import open_session
from toolchain.driver.step import PORTABLE, Step

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
    result = step.run(images, ratios, facts.method.learning_rate)
    moved = [layer.parameter for layer in (facts.layers[0], facts.layers[-1]) if layer.parameter]
    recorded = {
        "images": images,
        "prune_ratios": ratios,
        "learning_rate": np.array([facts.method.learning_rate], np.float32),
        "logits": result.logits,
        "loss": np.array(result.loss),
        "grad_rms": result.grad_rms,
        "kept_elements": result.kept_elements,
        "infer_logits": open_session(bundle, None, None).run(facts.infer.input, images, facts.infer.output),
        "tolerance": np.array(TOLERANCE),
        **{f"updated/{name}": step.state[name] for name in moved},
    }
    np.savez(folder / facts.reference, allow_pickle=False, **recorded)
