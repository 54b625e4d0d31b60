"""One prune ratio for every layer: what SURGEON's ratios are compared with (Ma et al., CVPR 2025, figure 3)."""

from dataclasses import replace

from toolchain.methods import surgeon
from toolchain.methods.declaration import Method

SOURCE = "Ma et al., SURGEON, CVPR 2025, figure 3"


def _static(method: Method) -> Method:
    return replace(method, name="static", source=SOURCE, controller="static")


FULL, BN = tuple(map(_static, surgeon.FULL)), tuple(map(_static, surgeon.BN))
