"""Who adapts to a stream of batches: the bundle, and the same method in eager PyTorch."""
