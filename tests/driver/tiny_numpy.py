"""The tiny model's step in numpy, float64: what the graph has to agree with."""

from dataclasses import dataclass

import numpy as np

from tests.driver.tiny_graphs import CLASSES, EPSILON, HIDDEN, IN, MOMENTUM, STEP_INPUTS

State = dict[str, np.ndarray]


@dataclass
class Outcome:
    logits: np.ndarray
    loss: float
    grad_rms: np.ndarray
    kept_elements: np.ndarray
    state: State


def initial_state() -> State:
    """Every input that lives from batch to batch, float32."""
    random = np.random.default_rng(7)
    state = {name: np.zeros(shape, np.float32) for name, role, _, shape in STEP_INPUTS if "N" not in shape}
    state["first.weight"] = (random.standard_normal((HIDDEN, IN)) / 7).astype(np.float32)
    state["second.weight"] = (random.standard_normal((CLASSES, HIDDEN)) / 4).astype(np.float32)
    state["first.bias"] = random.standard_normal(HIDDEN).astype(np.float32) / np.float32(10)
    state["norm.running_var"] = np.ones(HIDDEN, np.float32)
    return {name: array for name, array in state.items() if name not in ("prune_ratios", "learning_rate")}


def step(state: State, images: np.ndarray, ratios: np.ndarray, learning_rate: float) -> Outcome:
    s = {name: array.astype(np.float64) for name, array in state.items()}
    x = images.reshape(len(images), -1).astype(np.float64)
    z = x @ s["first.weight"].T + s["first.bias"]
    h = np.maximum(z, 0)
    logits = h @ s["second.weight"].T
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    entropy = -(np.exp(logp) * logp).sum(1, keepdims=True)
    dlogits = -np.exp(logp) * (logp + entropy) / len(x)
    dz = np.where(z > 0, dlogits @ s["second.weight"], 0)
    kept = np.floor(np.array([x.size, h.size]) * (1 - ratios.astype(np.float64))).astype(np.int64)
    grads = {"first.weight": dz.T @ prune(x, kept[0]), "second.weight": dlogits.T @ prune(h, kept[1])}
    for name, grad in grads.items():
        s[f"momentum.{name}"] = MOMENTUM * s[f"momentum.{name}"] + grad
        s[name] = s[name] - learning_rate * s[f"momentum.{name}"]
    s["norm.running_mean"] = 0.9 * s["norm.running_mean"] + 0.1 * z.mean(0)
    s["norm.running_var"] = 0.9 * s["norm.running_var"] + 0.1 * z.var(0)
    s["sgd.step"] = s["sgd.step"] + 1
    rms = np.array([np.sqrt(np.mean(grad**2)) for grad in grads.values()])
    return Outcome(logits, float(entropy.mean()), rms, kept, s)


def prune(x: np.ndarray, kept: int) -> np.ndarray:
    """The `kept` largest magnitudes of x; zero elsewhere."""
    flat = x.reshape(-1)
    chosen = np.argsort(-np.abs(flat), kind="stable")[:kept]
    result = np.zeros_like(flat)
    result[chosen] = flat[chosen]
    return result.reshape(x.shape)


def folded(state: State) -> dict[str, np.ndarray]:
    """The inference graph's weights, float32: a BatchNorm without affine parameters after the first layer."""
    scale = 1 / np.sqrt(state["norm.running_var"].astype(np.float64) + EPSILON)
    weights = {
        "first.w": state["first.weight"] * scale[:, None],
        "first.b": (state["first.bias"] - state["norm.running_mean"]) * scale,
        "second.w": state["second.weight"],
    }
    return {name: array.astype(np.float32) for name, array in weights.items()}


def infer(state: State, images: np.ndarray) -> np.ndarray:
    weights = folded(state)
    x = images.reshape(len(images), -1)
    logits: np.ndarray = np.maximum(x @ weights["first.w"].T + weights["first.b"], 0) @ weights["second.w"].T
    return logits
