"""Our step beside its peers, each in a fresh process, in turn, with the same measure of time and memory.

A step is forward, loss, backward and the update of the optimizer, and both `step_seconds` and `cpu_seconds` cover all
of it; where importance is probed, the probe too. `peak_step_bytes` is what a step needs above parameters, optimizer
state and input, gradient buffers included.
"""
