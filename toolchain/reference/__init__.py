"""The adaptation step in eager PyTorch, written to be read: what `verify` and the tests compare compiled graphs with.

- pruning: which elements of an activation are kept
- gradients: how a gradient is formed from what was kept
- interception: where the layers of a model meet both (attention and batch_moments: what two of them need)
- objective: what is minimised, and on which samples
- step: one adaptation step
- controller: SURGEON's prune ratios
- mecta, ecotta: steps with MECTA's BatchNorm and with EcoTTA's meta networks
- sharpness, teacher, two_views, layer_rates: SAR, CoTTA, consistency and LAW, which take more than a step a batch
- forward: prediction on running or batch statistics, where nothing trains
"""
