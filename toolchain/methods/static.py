"""One prune ratio for every layer: what SURGEON's ratios are compared with (Ma et al., CVPR 2025, figure 3)."""

from dataclasses import replace

from toolchain.methods import surgeon

FULL = replace(surgeon.FULL, name="static", source="Ma et al., SURGEON, CVPR 2025, figure 3", controller="static")

BN = replace(surgeon.BN, name="static", source=FULL.source, controller="static")
