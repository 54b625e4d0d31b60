"""TensorRT on the device: engines built once, run, and refitted with the adapted weights.

- session_tensorrt: the only file that imports TensorRT. cuda: the only one that knows CUDA
- plan, cache: an engine as it is stored, built when it is first needed
- live: two engines that take turns, so that no prediction waits for a refit
- proof, checks: does an engine compute what onnxruntime does, before and after a refit
"""
