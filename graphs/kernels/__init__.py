"""Our operators as native code: a library that ONNX Runtime loads."""

from graphs.kernels.build import library

__all__ = ["library"]
