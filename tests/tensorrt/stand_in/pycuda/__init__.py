"""A stand-in for pycuda, for tests: the functions of its `driver` that the adapter calls, on that for libcudart."""
