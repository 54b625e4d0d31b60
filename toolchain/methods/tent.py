"""TENT: fully test-time adaptation by entropy minimization (Wang et al., ICLR 2021).

For ImageNet-C its authors use SGD with learning rate 2.5e-4 and momentum 0.9 at batch 64.
"""

from toolchain.methods.declaration import AFFINE, NORMS, Adam, Method

BN = Method(
    name="tent",
    source="Wang et al., Tent, ICLR 2021",
    train="bn",
    trains=NORMS,
    parameters=AFFINE,
    optimizer=Adam(learning_rate=1e-3),
)
