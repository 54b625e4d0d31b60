"""MECTA: a BatchNorm for TENT that keeps few channels, and none where a batch is no news (Hong et al., ICLR 2023)."""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, CIFAR10, CIFAR100, IMAGENET, SGD, Mecta, Method

BASE = Method(
    name="mecta",
    source="Hong et al., MECTA, ICLR 2023",
    train="bn",
    trains=frozenset({"batchnorm"}),
    parameters=AFFINE,
    optimizer=SGD(learning_rate=2.5e-3),
    controller="static",
    prune_ratio=0.7,
    mecta=Mecta(threshold=0.00125, drop=0.7),
    settings=CIFAR10,
)

SLOW = replace(BASE, optimizer=SGD(learning_rate=1e-4))

BN = (
    BASE,
    replace(SLOW, mecta=Mecta(threshold=0.0025, drop=0.7), settings=CIFAR100),
    replace(SLOW, settings=IMAGENET),
)
