"""SURGEON: memory-adaptive fully test-time adaptation via dynamic activation sparsity (Ma et al., CVPR 2025).

As the authors' code does, the weights train and the biases do not. Unlike it, BatchNorm's gradient is that of its own
forward pass: the centred activation is pruned, and its mean and deviation are kept exactly.
"""

from dataclasses import replace

from toolchain.methods.declaration import ALL, NORMS, WEIGHTS, Adam, Method

FULL = Method(
    name="surgeon",
    source="Ma et al., SURGEON, CVPR 2025",
    train="full",
    trains=ALL,
    parameters=WEIGHTS,
    optimizer=Adam(learning_rate=2.2e-5),
    controller="surgeon",
)

BN = replace(FULL, train="bn", trains=NORMS, optimizer=Adam(learning_rate=1e-3))
"""Learning rates are the paper's for CIFAR-10-C; for ImageNet-C it uses 5e-6 and 2e-4 at batch 64."""
