"""MECTA: a BatchNorm for TENT that keeps few channels, and none where a batch is no news (Hong et al., ICLR 2023).

For ImageNet-C its authors use learning rate 1e-4; for CIFAR-100-C that and a threshold of 0.0025.
"""

from toolchain.methods.declaration import AFFINE, SGD, Mecta, Method

BN = Method(
    name="mecta",
    source="Hong et al., MECTA, ICLR 2023",
    train="bn",
    trains=frozenset({"batchnorm"}),
    parameters=AFFINE,
    optimizer=SGD(learning_rate=2.5e-3),
    controller="static",
    prune_ratio=0.7,
    mecta=Mecta(threshold=0.00125, drop=0.7),
)
