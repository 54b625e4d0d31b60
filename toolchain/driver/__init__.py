"""All that reaches the device: Python 3.8, numpy and onnxruntime. Imports nothing of toolchain but its errors."""
