"""A compiler from pretrained PyTorch vision models to bundles that adapt themselves on the device."""

__version__ = "0.1.0"
