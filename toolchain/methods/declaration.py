"""What an adaptation method declares; the compiler does the rest."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Adam:
    """Adam with bias correction and no weight decay (Kingma and Ba 2015, algorithm 1)."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    name: str = field(default="adam", init=False)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with heavy-ball momentum, as torch.optim.SGD without dampening."""

    learning_rate: float
    momentum: float = 0.9
    name: str = field(default="sgd", init=False)


Optimizer = Adam | SGD
Train = Literal["full", "bn"]
Kind = Literal["conv", "linear", "batchnorm", "layernorm"]
Controller = Literal["dense", "static", "surgeon"]
Loss = Literal["entropy", "confident_entropy"]

NORMS: frozenset[Kind] = frozenset({"batchnorm", "layernorm"})
ALL: frozenset[Kind] = NORMS | {"conv", "linear"}
WEIGHTS: frozenset[Literal["weight", "bias"]] = frozenset({"weight"})
AFFINE: frozenset[Literal["weight", "bias"]] = frozenset({"weight", "bias"})


@dataclass(frozen=True)
class Probe:
    """How importance is measured before a step: on `samples` random images, pruned at `prune_ratio`."""

    samples: int
    prune_ratio: float


@dataclass(frozen=True)
class WarmUp:
    """How meta networks are trained on source data: with cross-entropy and SGD, for so many passes over it."""

    learning_rate: float
    momentum: float
    epochs: int
    batch: int


@dataclass(frozen=True)
class MetaNetworks:
    """EcoTTA's small networks beside a frozen model; they alone train.

    distillation: the weight λ of the mean distance of what they correct from what it was.
    """

    distillation: float
    warm_up: WarmUp


@dataclass(frozen=True)
class Method:
    """One adaptation method.

    train: the name of the choice. trains: which kinds of layer it trains. parameters: which of their tensors.
    BatchNorm normalises with the statistics of the batch; momentum: how fast its running statistics follow.
    controller: what chooses the prune ratios: "dense" (0 everywhere), "static" (`prune_ratio` everywhere) or "surgeon".
    """

    name: str
    source: str
    train: Train
    trains: frozenset[Kind]
    parameters: frozenset[Literal["weight", "bias"]]
    optimizer: Optimizer
    controller: Controller = "dense"
    prune_ratio: float = 0.9
    loss: Loss = "entropy"
    momentum: float = 0.1
    probe: Probe = Probe(samples=1, prune_ratio=0.9)
    meta_networks: MetaNetworks | None = None
