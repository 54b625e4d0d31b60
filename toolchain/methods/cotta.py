"""CoTTA: continual test-time domain adaptation (Wang et al., CVPR 2022)."""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, ALL, CIFAR10, CIFAR100, IMAGENET, SGD, Adam, Method, Teacher

BASE = Method(
    name="cotta",
    source="Wang et al., CoTTA, CVPR 2022",
    train="full",
    trains=ALL,
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
    loss=("targets",),
    beside=Teacher(confidence=0.92),
    settings=CIFAR10,
)

FULL = (
    BASE,
    replace(BASE, beside=Teacher(confidence=0.72), settings=CIFAR100),
    replace(
        BASE,
        optimizer=SGD(learning_rate=0.01, nesterov=True),
        loss=("targets", "log_targets"),
        beside=Teacher(confidence=0.1, restore=0.001, symmetric=True),
        settings=IMAGENET,
    ),
)
