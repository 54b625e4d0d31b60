"""Full fine-tuning: entropy on every weight and bias, nothing pruned (Ma et al., CVPR 2025, row "Full tuning")."""

from toolchain.methods.declaration import AFFINE, ALL, Adam, Method

FULL = Method(
    name="full",
    source="Ma et al., SURGEON, CVPR 2025, table 1",
    train="full",
    trains=ALL,
    parameters=AFFINE,
    optimizer=Adam(learning_rate=2.2e-5),
)
