"""LAW: layer-wise auto-weighting for non-stationary test-time adaptation (Park et al., WACV 2024).

Every batch has a new Adam, whose first step is all there is. The numbers are those for CIFAR-10; for CIFAR-100 the
authors take a learning rate of 5e-5 and a temperature of 0.6, for ImageNet 2e-4 and 1.
"""

from toolchain.methods.declaration import AFFINE, NORMS, Adam, LayerRates, Method

FULL = Method(
    name="law",
    source="Park et al., LAW, WACV 2024",
    train="full",
    trains=NORMS | {"conv"},
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
    loss=("entropy", "targets", "log_targets"),
    beside=LayerRates(temperature=1.0, consistency=0.01),
    update="driver",
)
