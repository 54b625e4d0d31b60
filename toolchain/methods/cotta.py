"""CoTTA: continual test-time domain adaptation (Wang et al., CVPR 2022).

The numbers are those for CIFAR-10. For CIFAR-100 the authors take a confidence of 0.72; for ImageNet 0.1, a restored
share of 0.001, the symmetric loss, and SGD with a learning rate of 0.01.
"""

from toolchain.methods.declaration import AFFINE, ALL, Adam, Method, Teacher

FULL = Method(
    name="cotta",
    source="Wang et al., CoTTA, CVPR 2022",
    train="full",
    trains=ALL,
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
    loss=("targets",),
    beside=Teacher(),
)
