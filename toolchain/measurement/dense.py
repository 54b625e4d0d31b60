"""The dense onnxruntime-training step, without its optimizer: forward, backward, gradients in their buffers.

Called as `python -m toolchain.measurement.dense FOLDER BATCH STEPS THREADS`, with FOLDER as `prepare` wrote it.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.training.api import CheckpointState, Module

from toolchain.measurement.stopwatch import report


def main(folder: Path, batch: int, steps: int, threads: int) -> None:
    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    model = str(folder / "training_model.onnx")
    module = Module(model, state, device="cpu", session_options=_frugal(threads))
    module.train()
    side = int((folder / "side").read_text())
    images = np.random.default_rng(0).standard_normal((batch, 3, side, side), np.float32)

    def step() -> None:
        module(images)
        module.lazy_reset_grad()

    step()
    buffers = sum(parameter.data.nbytes for _, parameter in state.parameters if parameter.requires_grad)
    report(step, steps, buffers)


def _frugal(threads: int) -> onnxruntime.SessionOptions:
    """The settings under which this step needs least."""
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.intra_op_num_threads = threads
    return options


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
