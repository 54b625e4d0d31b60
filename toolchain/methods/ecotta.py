"""EcoTTA: small networks correct a frozen model, and are held to it (Song et al., CVPR 2023).

The frozen part keeps the statistics of its training, so that nothing of it is saved but the signs that its ReLUs need.
The paper warms up for 3 epochs on ImageNet, and holds a segmentation model with weight 2. It gives a learning rate and
no momentum: here it is that of the warm-up.
"""

from toolchain.methods.declaration import AFFINE, SGD, MetaNetworks, Method, WarmUp

FULL = Method(
    name="ecotta",
    source="Song et al., EcoTTA, CVPR 2023",
    train="full",
    trains=frozenset({"conv", "batchnorm"}),
    parameters=AFFINE,
    optimizer=SGD(learning_rate=5e-3),
    loss=("confident_entropy",),
    meta_networks=MetaNetworks(distillation=0.5, warm_up=WarmUp(learning_rate=5e-2, momentum=0.9, epochs=10, batch=64)),
)
