"""Our step beside its peers, each in a fresh process, in turn, with the same measure of time and memory.

peak_step_bytes is what a step needs above parameters, optimizer state and input, gradient buffers included.
"""
