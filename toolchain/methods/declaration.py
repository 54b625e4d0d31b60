"""What an adaptation method declares; the compiler does the rest."""

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from itertools import chain
from typing import Literal, get_args


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
    """Stochastic gradient descent with heavy-ball momentum, or Nesterov's, as torch.optim.SGD without dampening."""

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    name: str = field(default="sgd", init=False)


Optimizer = Adam | SGD
Setting = Literal["cifar10", "cifar100", "imagenet"]
Train = Literal["none", "full", "bn"]
Kind = Literal["conv", "linear", "batchnorm", "layernorm"]
Controller = Literal["dense", "static", "surgeon"]

Term = Literal["entropy", "confident_entropy", "targets", "log_targets"]

SETTINGS: tuple[Setting, ...] = get_args(Setting)
CIFAR10: tuple[Setting, ...] = ("cifar10",)
CIFAR100: tuple[Setting, ...] = ("cifar100",)
IMAGENET: tuple[Setting, ...] = ("imagenet",)

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
    """How meta networks are trained on source data: with cross-entropy and SGD, for so many passes over it.

    The learning rate falls to 0 along half a cosine: the paper names no schedule, and with a constant one the error of
    a ResNet-20 on corrupted images is 3 points higher.
    """

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
class Selection:
    """Which samples of a batch the entropy is minimised on: those whose own is below `share` of the most it can be.

    share: of ln(classes); None: all. weighted: by exp(limit − entropy). redundancy: and those whose probabilities have
    a cosine below it to the moving average of all that were kept. (Niu et al., ICML 2022, "EATA", equations 3 to 6.)
    """

    share: float | None = 0.4
    weighted: bool = False
    redundancy: float | None = None


@dataclass(frozen=True)
class Anchor:
    """Parameters are pulled to where they started, strength · F · (θ − θ0)², F their Fisher information on `samples`
    source images with pseudo-labels. (Niu et al., ICML 2022, "EATA", equation 8.)
    """

    strength: float
    samples: int


@dataclass(frozen=True)
class Teacher:
    """A teacher whose parameters are the moving average of the student's, with `decay`, gives targets and predictions.

    Where the shipped model's mean confidence is below `confidence`, the mean of its logits for `views` augmentations
    counts. symmetric: half the loss is the cross-entropy the other way round. restore: the share of the student's
    elements that each batch sets back to what was shipped. (Wang et al., CVPR 2022, "CoTTA", sections 3.2 and 3.3.)
    """

    decay: float = 0.999
    confidence: float = 0.92
    views: int = 32
    restore: float = 0.01
    symmetric: bool = False
    name: str = field(default="teacher", init=False)


@dataclass(frozen=True)
class Sharpness:
    """The gradient is taken at θ + radius · g / ‖g‖; all starts anew once the moving average of the loss in nats, with
    `decay`, falls below `reset_below`. (Niu et al., ICLR 2023, "SAR", section 4.)
    """

    radius: float = 0.05
    decay: float = 0.9
    reset_below: float = 0.2
    name: str = field(default="sharpness", init=False)


@dataclass(frozen=True)
class LayerRates:
    """Each tensor's learning rate is scaled by its Fisher information on pseudo-labels, from 0 for the lowest to 1 for
    the highest, to the power of `temperature`. consistency: see TwoViews. (Park et al., WACV 2024, "LAW", section 3.)
    """

    temperature: float
    consistency: float
    name: str = field(default="layer_rates", init=False)


@dataclass(frozen=True)
class TwoViews:
    """The loss has a term consistency · classes · H(p(x), p(T(x))) for an augmentation T, with gradients both ways.

    (Ma et al., CVPR 2025, "SURGEON", section 3.4.)
    """

    consistency: float
    name: str = field(default="two_views", init=False)


Beside = Teacher | Sharpness | LayerRates | TwoViews


@dataclass(frozen=True)
class Mecta:
    """MECTA's BatchNorm: normalises with running statistics that follow a batch by 1 − exp(−divergence).

    drop: the share of the channels of which nothing is kept for the backward pass. threshold: a layer whose statistics
    follow by less keeps nothing, and its parameters rest. (Hong et al., ICLR 2023, "MECTA", section 3.)
    """

    threshold: float
    drop: float


@dataclass(frozen=True)
class Method:
    """One adaptation method.

    train: the name of the choice. trains: which kinds of layer it trains. parameters: which of their tensors. skips:
    modules, by the start of their path, that it does not train.
    optimizer: None where nothing trains. whole_rate_from: of so many images is the smallest batch that has its
    learning rate; smaller ones have less in proportion.
    statistics: what BatchNorm normalises with; momentum: how fast its running statistics follow those of the batch;
    source_samples: as how many images the source's statistics count beside those of the batch.
    settings: the data sets that its numbers are for.
    loss: the sum of these terms, see graphs.losses; selection: of the samples whose entropy counts.
    controller: what chooses the prune ratios: "dense" (0 everywhere), "static" (`prune_ratio` everywhere) or "surgeon".
    beside: what a device does beside the graph. update: where the optimizer is: in the "graph" or, for methods that
    differentiate several times a batch, in the "driver".
    """

    name: str
    source: str
    train: Train
    trains: frozenset[Kind] = frozenset()
    parameters: frozenset[Literal["weight", "bias"]] = frozenset()
    skips: tuple[str, ...] = ()
    optimizer: Optimizer | None = None
    whole_rate_from: int = 1
    controller: Controller = "dense"
    prune_ratio: float = 0.9
    loss: tuple[Term, ...] = ("entropy",)
    selection: Selection | None = None
    anchor: Anchor | None = None
    statistics: Literal["batch", "running"] = "batch"
    source_samples: int = 0
    momentum: float = 0.1
    probe: Probe = Probe(samples=1, prune_ratio=0.9)
    meta_networks: MetaNetworks | None = None
    mecta: Mecta | None = None
    beside: Beside | None = None
    update: Literal["graph", "driver"] = "graph"
    settings: tuple[Setting, ...] = SETTINGS

    @property
    def numbers(self) -> dict[str, float]:
        """All that its parts declare, by the name of the field."""
        parts = (self.optimizer, self.selection, self.anchor, self.meta_networks, self.mecta, self.beside)
        return dict(chain.from_iterable(_numbers(part) for part in parts))

    def learning_rate(self, batch: int) -> float:
        """For batches of so many images, of which one counts as two; 0 where nothing trains."""
        if self.optimizer is None:
            return 0.0
        return self.optimizer.learning_rate * min(1.0, max(2, batch) / self.whole_rate_from)

    @property
    def weighs_samples(self) -> bool:
        """Whether the samples of a batch count differently in the entropy."""
        return "entropy" in self.loss and (self.selection is not None or self.update == "driver")

    @property
    def predicts_beside(self) -> bool:
        """Whether a forward pass alone is run, too."""
        return isinstance(self.beside, Teacher | LayerRates | TwoViews)


def _numbers(part: object, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Of a part and of the parts within it, which precede the name of the field."""
    for name, value in vars(part).items() if is_dataclass(part) else ():
        if isinstance(value, int | float):
            yield prefix + name, float(value)
        yield from _numbers(value, f"{name}_")
