"""EcoTTA: meta networks on a frozen model, warmed up on source data (Song et al., CVPR 2023).

The frozen part keeps its source statistics, so that nothing of it is saved but the signs that its ReLUs need.
"""
