"""EATA: efficient test-time model adaptation without forgetting (Niu et al., ICML 2022).

For CIFAR-10 it has the learning rate that MECTA's authors have it take there (Hong et al., ICLR 2023; EATA's own code
has but one, ImageNet's). For CIFAR-100 it filters and anchors with ImageNet's numbers, as they have it do too, and has
ImageNet's learning rate.
"""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, CIFAR10, CIFAR100, IMAGENET, NORMS, SGD, Anchor, Method, Selection

BASE = Method(
    name="eata",
    source="Niu et al., EATA, ICML 2022",
    train="bn",
    trains=NORMS,
    parameters=AFFINE,
    optimizer=SGD(learning_rate=2.5e-3),
    selection=Selection(share=0.4, weighted=True, redundancy=0.4),
    anchor=Anchor(strength=1.0, samples=2000),
    settings=CIFAR10,
)

LARGE = replace(
    BASE,
    optimizer=SGD(learning_rate=2.5e-4),
    selection=Selection(share=0.4, weighted=True, redundancy=0.05),
    anchor=Anchor(strength=2000.0, samples=2000),
    settings=CIFAR100 + IMAGENET,
)

BN = (BASE, LARGE)
