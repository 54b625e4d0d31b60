"""EcoTTA: small networks correct a frozen model, and are held to it (Song et al., CVPR 2023).

The frozen part keeps the statistics of its training, so that nothing of it is saved but the signs that its ReLUs need.
The paper holds a segmentation model with weight 2. It gives a learning rate and no momentum: here it is that of the
warm-up. Where small batches lean on the source's statistics, the paper takes a rate of 1e-5 or 5e-6 instead, which is
to be asked for: `--learning-rate`.
"""

from dataclasses import replace

from toolchain.methods.declaration import AFFINE, CIFAR10, CIFAR100, IMAGENET, SGD, MetaNetworks, Method, WarmUp

BASE = Method(
    name="ecotta",
    source="Song et al., EcoTTA, CVPR 2023",
    train="full",
    trains=frozenset({"conv", "batchnorm"}),
    parameters=AFFINE,
    optimizer=SGD(learning_rate=5e-3),
    loss=("confident_entropy",),
    meta_networks=MetaNetworks(distillation=0.5, warm_up=WarmUp(learning_rate=5e-2, momentum=0.9, epochs=10, batch=64)),
    settings=CIFAR10 + CIFAR100,
)

BRIEF = WarmUp(learning_rate=5e-2, momentum=0.9, epochs=3, batch=64)

FULL = (BASE, replace(BASE, meta_networks=MetaNetworks(distillation=0.5, warm_up=BRIEF), settings=IMAGENET))
