"""TENT: fully test-time adaptation by entropy minimization (Wang et al., ICLR 2021)."""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, CIFAR10, CIFAR100, IMAGENET, NORMS, SGD, Adam, Method

BASE = Method(
    name="tent",
    source="Wang et al., Tent, ICLR 2021",
    train="bn",
    trains=NORMS,
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
    settings=CIFAR10 + CIFAR100,
)

BN = (BASE, replace(BASE, optimizer=SGD(learning_rate=2.5e-4), settings=IMAGENET))
