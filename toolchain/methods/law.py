"""LAW: layer-wise auto-weighting for non-stationary test-time adaptation (Park et al., WACV 2024).

Every batch has a new Adam, whose first step is all there is. The authors' code does not clear the gradients of a step
before it measures the information of the next batch, which so holds both: here it is that of the pseudo-labels alone.
"""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, CIFAR10, CIFAR100, IMAGENET, NORMS, Adam, LayerRates, Method

BASE = Method(
    name="law",
    source="Park et al., LAW, WACV 2024",
    train="full",
    trains=NORMS | {"conv"},
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
    loss=("entropy", "targets", "log_targets"),
    beside=LayerRates(temperature=1.0, consistency=0.01),
    update="driver",
    settings=CIFAR10,
)

FULL = (
    BASE,
    replace(
        BASE,
        optimizer=Adam(learning_rate=5e-5),
        beside=LayerRates(temperature=0.6, consistency=0.01),
        settings=CIFAR100,
    ),
    replace(BASE, optimizer=Adam(learning_rate=2e-4), settings=IMAGENET),
)
