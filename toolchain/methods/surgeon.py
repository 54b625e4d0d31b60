"""SURGEON: memory-adaptive fully test-time adaptation via dynamic activation sparsity (Ma et al., CVPR 2025).

As the authors' code does, the weights train and the biases do not. Unlike it, BatchNorm's gradient is that of its own
forward pass: the centred activation is pruned, and its mean and deviation are kept exactly.
"""

from toolchain.methods.declaration import Adam, Method

SOURCE = "Ma et al., SURGEON, CVPR 2025"

SURGEON = {
    "full": Method(
        name="surgeon",
        source=SOURCE,
        train="full",
        trains=frozenset({"conv", "linear", "batchnorm", "layernorm"}),
        parameters=frozenset({"weight"}),
        optimizer=Adam(learning_rate=2.2e-5),
        controller="surgeon",
    ),
    "bn": Method(
        name="surgeon",
        source=SOURCE,
        train="bn",
        trains=frozenset({"batchnorm", "layernorm"}),
        parameters=frozenset({"weight"}),
        optimizer=Adam(learning_rate=1e-3),
        controller="surgeon",
    ),
}
"""Learning rates are the paper's for CIFAR-10-C; for ImageNet-C it uses 5e-6 and 2e-4 at batch 64."""
