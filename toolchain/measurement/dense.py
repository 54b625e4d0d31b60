"""The dense onnxruntime-training step on the engine's own artifacts: forward, backward, AdamW.

Called as `python -m toolchain.measurement.dense FOLDER --batch N --steps K --threads T [--fast]`, with FOLDER as
`prepare` wrote it. It runs under the settings with which it needs least: without arena, memory patterns and reuse,
and in the engine's own order, where each gradient is added to its buffer as soon as it is there. The file's order
would hold all gradients a second time until the end, and reuse by a plan made beforehand keeps buffers for longer.
"""

from toolchain.measurement.stopwatch import report
from toolchain.measurement.task import Task, read_task
from toolchain.measurement.training import Order, TrainingStep, random_images, settings, share


def main(task: Task) -> None:
    load = task.load
    step = TrainingStep(task.folder, settings(load.threads, Order.DEFAULT, task.fast))
    images = share(random_images(load.batch, int((task.folder / "side").read_text())))
    report(lambda: step.run(images), load.steps, step.gradient_bytes, hoards=task.fast)


if __name__ == "__main__":
    main(read_task())
