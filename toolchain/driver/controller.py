"""From the importance of each layer to the share of its activation that is pruned."""

import numpy as np


def surgeon_ratios(grad_rms: np.ndarray, elements_per_sample: np.ndarray) -> np.ndarray:
    """SURGEON's prune ratios, float32 [L] (Ma et al., CVPR 2025, section 3).

    p = 1 - G·M / max(G·M), with G the root mean square of a layer's weight gradient and M = -ln(m / Σm) of the size m
    of its activation. A layer without gradient is pruned whole. Where no layer has any importance, as in a model of one
    layer, every layer with a gradient is kept whole.
    """
    sizes = elements_per_sample.astype(np.float64)
    importance = grad_rms.astype(np.float64) * -np.log(sizes / sizes.sum())
    top = float(importance.max(initial=0.0))
    if top <= 0:
        return np.asarray(grad_rms == 0, np.float32)
    return np.asarray(np.clip(1.0 - importance / top, 0.0, 1.0), np.float32)


def uniform_ratios(layers: int, ratio: float) -> np.ndarray:
    """The same ratio for every layer, float32 [L]."""
    return np.full(layers, ratio, np.float32)
