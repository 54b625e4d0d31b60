"""How fast a board could be at best: the work that the graphs ask for, against the peaks of the machine.

An estimate from data sheets, not verified on hardware. Source: Williams, Waterman and Patterson (2009).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx_ir as ir

from graphs.work import Work, find_fused_work, find_work
from targets import Target
from toolchain.errors import TargetError
from toolchain.methods import find_method
from toolchain.models.registry import load_model
from toolchain.stages.differentiate import differentiate
from toolchain.stages.export import export
from toolchain.stages.fuse import fuse
from toolchain.stages.rewrite import rewrite
from toolchain.stages.trace import trace

LABEL = "roofline estimate, not verified on hardware"
FLOAT_BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class Machine:
    """Peaks of a processor and its memory. name: "GPU" or "CPU"."""

    name: str
    precision: str
    flops_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Estimate:
    """seconds: the sum over all operators of the longer of arithmetic and traffic. bound: which takes more of it."""

    machine: Machine
    images: int
    flops: int
    bytes: int
    seconds: float
    bound: str

    def as_json(self) -> dict[str, Any]:
        where = {"processor": self.machine.name, "precision": self.machine.precision}
        numbers = {name: getattr(self, name) for name in ("images", "flops", "bytes", "seconds", "bound")}
        return {**where, **numbers}


def inference_machine(target: Target) -> Machine | None:
    """Where a bundle predicts; None if the board's peaks are not known."""
    if target.tensorrt is None:
        return adaptation_machine(target)
    return _machine("GPU", target.precision, target.number(f"gpu_{target.precision}_gflops"), target)


def adaptation_machine(target: Target) -> Machine | None:
    """Where a bundle adapts."""
    return _machine("CPU", "fp32", target.number("cpu_fp32_gflops"), target)


def _machine(name: str, precision: str, gflops: float | None, target: Target) -> Machine | None:
    bandwidth = target.number("memory_bandwidth_gb_per_second")
    return None if gflops is None or bandwidth is None else Machine(name, precision, gflops * 1e9, bandwidth * 1e9)


def known_peaks(target: Target) -> bool:
    return inference_machine(target) is not None and adaptation_machine(target) is not None


def estimate(target: Target, model: str, batch: int, prune_ratio: float) -> tuple[Estimate, Estimate]:
    """Of predicting one image, and of a step of SURGEON on `batch`, every layer pruned alike.

    Raises ModelError and TargetError as a build does, TargetError also where the board's peaks are not known.
    """
    predicting, adapting = inference_machine(target), adaptation_machine(target)
    if predicting is None or adapting is None:
        raise TargetError(f"the peaks of {target.name} are not known: measure it with `toolchain bench`")
    infer, step, layers = _graphs(target, model)
    inferring = find_fused_work(infer, 1, FLOAT_BYTES[predicting.precision])
    stepping = find_work(step, batch, [prune_ratio] * layers)
    return bounded(inferring, predicting, 1), bounded(stepping, adapting, batch)


def bounded(work: Iterable[Work], machine: Machine, images: int) -> Estimate:
    """The roofline of every operator, one after the other."""
    times = [(i.flops / machine.flops_per_second, i.bytes / machine.bytes_per_second, i) for i in work]
    computing = sum(arithmetic for arithmetic, traffic, _ in times if arithmetic >= traffic)
    moving = sum(traffic for arithmetic, traffic, _ in times if arithmetic < traffic)
    flops, moved = (sum(getattr(i, name) for *_, i in times) for name in ("flops", "bytes"))
    bound = "compute" if computing >= moving else "bandwidth"
    return Estimate(machine, images, flops, moved, computing + moving, bound)


def _graphs(target: Target, name: str) -> tuple[ir.Graph, ir.Graph, int]:
    """The inference model, the step in native kernels and the number of its layers; no weights are needed."""
    traced = trace(load_model(name, "none"))
    infer = ir.from_proto(export(traced, target).infer)
    method = find_method("surgeon")
    with TemporaryDirectory() as folder:
        differentiated = differentiate(traced, method, Path(folder))
        rewritten = rewrite(differentiated)
        step = fuse(differentiated, rewritten, method).step
    return infer.graph, step.graph, len(rewritten.layers)
