"""SURGEON: memory-adaptive fully test-time adaptation via dynamic activation sparsity (Ma et al., CVPR 2025).

As the authors' code does, the weights train and the biases do not. Unlike it, BatchNorm's gradient is that of its own
forward pass: the centred activation is pruned, and its mean and deviation are kept exactly. Nor are the gradients of
the step before left in those of the probe. Learning rates are those of the paper's rows with sample selection and
consistency: it gives no others.

The probe sees one image, as on the authors' Jetson, and is pruned at 0.9, which the paper names as an alternative:
their code for servers takes ten images unpruned. Of 50 noisy photographs a ResNet-20 keeps 0.26 to 0.37 of the elements
with ours (five draws), 0.39 to 0.49 with theirs, and 0.11 to 0.15 with one image unpruned.
"""

from dataclasses import replace

from toolchain.methods.declaration import ALL, CIFAR10, CIFAR100, IMAGENET, NORMS, WEIGHTS, Adam, Method

BASE = Method(
    name="surgeon",
    source="Ma et al., SURGEON, CVPR 2025",
    train="full",
    trains=ALL,
    parameters=WEIGHTS,
    optimizer=Adam(learning_rate=2.2e-5),
    controller="surgeon",
    settings=CIFAR10,
)

FULL = (
    BASE,
    replace(BASE, optimizer=Adam(learning_rate=1e-5), settings=CIFAR100),
    replace(BASE, optimizer=Adam(learning_rate=5e-6), settings=IMAGENET),
)

BN = tuple(
    replace(method, train="bn", trains=NORMS, optimizer=Adam(rate))
    for method, rate in zip(FULL, (1e-3, 3e-4, 2e-4), strict=True)
)
