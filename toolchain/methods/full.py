"""Full fine-tuning: entropy on every weight and bias, nothing pruned (Ma et al., CVPR 2025, row "Full tuning").

The paper gives this row no learning rates: they are SURGEON's.
"""

from dataclasses import replace

from toolchain.methods import surgeon
from toolchain.methods.declaration import AFFINE

SOURCE = "Ma et al., SURGEON, CVPR 2025, table 1"

FULL = tuple(
    replace(method, name="full", source=SOURCE, parameters=AFFINE, controller="dense") for method in surgeon.FULL
)
