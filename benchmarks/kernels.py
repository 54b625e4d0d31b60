"""How fast the native kernels are, as a share of the speed at which memory is copied: `python -m benchmarks.kernels`.

One tensor of 25.7 MB, that of the first layers of a ResNet-50 on eight images. A copy of it is timed between the runs;
of both the shortest time counts, because a machine that does other things as well only makes times longer.
"""

import argparse
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ValueInfoProto, helper

from graphs.build import OWN_DOMAIN
from graphs.kernels import library
from graphs.kernels.build import PLATFORMS

SHAPE = (8, 256, 56, 56)
RATIOS = (0.5, 0.7, 0.9, 0.95, 0.99)
KEPT, DENSE = (np.float32, np.uint8), (np.float32,)
PLATFORM = f"linux-{platform.machine()}"


@dataclass(frozen=True)
class Case:
    """One operator and what it is given."""

    label: str
    op_type: str
    inputs: Sequence[np.ndarray | None]
    outputs: Sequence[type]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    in_place: int = 0
    """How many of the first outputs are written over the inputs of the same numbers."""


def cases() -> list[Case]:
    """The operators that do little else than move memory."""
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    bits = np.packbits(x > 0, bitorder="little")
    found = [Case("PackPositive", "PackPositive", [x], (np.uint8,)), Case("ApplyMask", "ApplyMask", [x, bits], DENSE)]
    for ratio in RATIOS:
        found += [*_cases_of_one_layer(x, ratio), *_cases_of_two_layers(x, ratio)]
    return [*found, *_cases_of_batchnorm(x), *_cases_of_batchnorm(x.reshape(64, 2048, 7, 7)), *_cases_of_maps(x)]


def _cases_of_one_layer(x: np.ndarray, ratio: float) -> list[Case]:
    center, shape = np.full(SHAPE[1], 0.1, np.float32), np.array(SHAPE, np.int64)
    given = [x, np.array([ratio], np.float32)]
    values, places = outputs_of(Case("", "Sparsify", given, KEPT))
    higher = np.array([1 - (1 - ratio) * 0.7], np.float32)
    return [
        Case(f"Sparsify {ratio}", "Sparsify", given, KEPT),
        Case(f"Sparsify {ratio} with center", "Sparsify", [*given, center], KEPT),
        Case(f"Sparsify {ratio} of a ReLU", "Sparsify", [np.maximum(x, 0), given[1]], KEPT),
        Case(f"SparsifyHalf {ratio}", "SparsifyHalf", given, (np.float16, np.uint8)),
        Case(f"Densify {ratio}", "Densify", [values, places, shape], DENSE),
        Case(f"Densify {ratio} from float16", "Densify", [values.astype(np.float16), places, shape], DENSE),
        Case(f"Narrow {ratio} to {higher[0]:.3g}", "Narrow", [values, places, shape, higher], KEPT),
    ]


def _cases_of_two_layers(x: np.ndarray, ratio: float) -> list[Case]:
    mean, slope, bias = (np.full(SHAPE[1], number, np.float32) for number in (0.1, 1.5, -0.3))
    ratios = [np.array([ratio], np.float32)] * 2
    pair = Case(f"SparsifyPair {ratio}", "SparsifyPair", [x, *ratios, mean, slope, bias], (*KEPT, np.int64))
    values, places, bounds = outputs_of(pair)
    stored = [values, places, np.array(SHAPE, np.int64), bounds]
    return [
        pair,
        Case(f"SelectNorm {ratio}", "SelectNorm", stored, KEPT),
        Case(f"SelectConv {ratio}", "SelectConv", [*stored, slope, bias], KEPT),
    ]


def _cases_of_batchnorm(x: np.ndarray) -> list[Case]:
    """Maps that change little when they are repeated."""
    one, zero = np.ones(x.shape[1], np.float32), np.zeros(x.shape[1], np.float32)
    given, size = [x, one, zero, zero, one], f"{x.shape[2]} x {x.shape[3]}"
    found = [
        Case(f"ChannelMoments {size}", "ChannelMoments", [x], DENSE * 2),
        Case(f"BatchNormalize {size}", "BatchNormalize", given, DENSE, in_place=1),
        Case(f"BatchNormalizeRelu {size}", "BatchNormalizeRelu", given, KEPT, in_place=1),
    ]
    for ratio in (0.5, 0.9):
        values, places = outputs_of(Case("", "Sparsify", [x, np.array([ratio], np.float32)], KEPT))
        label, inputs = f"BatchNormGradient {ratio} {size}", [x, values, places, one, one]
        bits, halves = np.packbits(x > 0, bitorder="little"), [x, values.astype(np.float16), places, one, one]
        found += [
            Case(label, "BatchNormGradient", inputs, DENSE * 3, in_place=1),
            Case(f"{label} with mask", "BatchNormGradient", [*inputs, bits], DENSE * 3, in_place=1),
            Case(f"{label} from float16", "BatchNormGradient", halves, DENSE * 3, in_place=1),
        ]
    return found


def _cases_of_maps(x: np.ndarray) -> list[Case]:
    """Those that change their input change nothing here, so that no run meets other numbers than the first one."""
    one, still, zeros = np.ones(1, np.float32), np.zeros(1, np.float32), np.zeros_like(x)
    adam = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "offset": 0}
    momentum = {"momentum": 0.9, "nesterov": 0, "offset": 0}
    found = [
        Case("ReluPack", "ReluPack", [x], KEPT, in_place=1),
        Case("AddInto", "AddInto", [x, zeros], DENSE, in_place=1),
        Case("AddStrided", "AddStrided", [x, zeros[:, :, ::2, ::2]], DENSE, {"strides": (2, 2)}, in_place=1),
        Case("Copy", "Copy", [x], DENSE),
        Case("AdamUpdate", "AdamUpdate", [x, zeros, x * x, zeros, still, one, one], DENSE * 3, adam, in_place=3),
        Case("MomentumUpdate", "MomentumUpdate", [x, zeros, zeros, still, one], DENSE * 2, momentum, in_place=2),
    ]
    for kernel, stride, pad in ((3, 2, 1), (2, 2, 0), (3, 1, 1)):
        geometry = {"kernel_shape": (kernel,) * 2, "strides": (stride,) * 2, "pads": (pad,) * 4, "rectified": 0}
        label = f"{kernel} x {kernel} / {stride}"
        forward = Case(f"MaxPool {label}", "MaxPool", [x], KEPT, geometry)
        inputs = [*outputs_of(forward), np.array(x.shape, np.int64)]
        found += [forward, Case(f"MaxPoolGradient {label}", "MaxPoolGradient", inputs, DENSE, geometry)]
    return found


def outputs_of(case: Case) -> list[np.ndarray]:
    """What the operator gives, computed once."""
    feeds = {f"x{number}": array for number, array in enumerate(case.inputs) if array is not None}
    found: list[np.ndarray] = _session(case, 1).run(None, feeds)
    return found


def run_of(case: Case, threads: int) -> Callable[[], None]:
    """Runs the case again and again in the same memory."""
    session = _session(case, threads)
    binding = session.io_binding()
    owned = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in case.inputs if array is not None]
    for given, value in zip(session.get_inputs(), owned, strict=True):
        binding.bind_ortvalue_input(given.name, value)
    for number, made in enumerate(session.get_outputs()):
        if number < case.in_place:
            binding.bind_ortvalue_output(made.name, owned[number])
        else:
            binding.bind_output(made.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def _session(case: Case, threads: int) -> onnxruntime.InferenceSession:
    names = ["" if array is None else f"x{number}" for number, array in enumerate(case.inputs)]
    outputs = [f"y{number}" for number in range(len(case.outputs))]
    graph = helper.make_graph(
        [helper.make_node(case.op_type, names, outputs, domain=OWN_DOMAIN, **case.attributes)],
        case.op_type,
        [_described(name, array.dtype) for name, array in zip(names, case.inputs, strict=True) if array is not None],
        [_described(name, kind) for name, kind in zip(outputs, case.outputs, strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(OWN_DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library(PLATFORM)))
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _described(name: str, kind: npt.DTypeLike) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), None)


def measure(run: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Seconds of a run and of a copy."""
    source = np.ones(SHAPE, np.float32)
    target = np.zeros_like(source)
    took: tuple[list[float], list[float]] = ([], [])
    actions: tuple[Callable[[], None], ...] = (run, lambda: np.copyto(target, source))
    for _ in range(rounds):
        for times, action in zip(took, actions, strict=True):
            action()
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
    return min(took[0]), min(took[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", nargs="+", default=list(PLATFORMS[PLATFORM].instruction_sets)[1:])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="cases whose name this regular expression is found in")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if re.search(arguments.only, case.label)]
    columns = [(isa, threads) for isa in arguments.isa for threads in arguments.threads]
    print("| share of the speed of a copy |", " | ".join(f"{isa}, {threads} threads" for isa, threads in columns), "|")
    print("|---|" + "---|" * len(columns))
    for case in chosen:
        cells = []
        for isa, threads in columns:
            os.environ["TOOLCHAIN_ISA"] = isa
            took, copy = measure(run_of(case, threads), arguments.rounds)
            cells.append(f"{copy / took:.2f} ({took * 1e3:.2f} ms)")
        print(f"| {case.label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
