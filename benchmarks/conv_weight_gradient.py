"""Time of the weight gradient of convolutions, from kept values and from dense activations, one thread.

    python -m benchmarks.conv_weight_gradient [--network resnet50] [--rounds 7] [--output benchmarks/results]

The contestants take turns in one process; every figure is a median of the process's CPU time, in milliseconds. The
numbers 0 to 0.95 are prune ratios. TOOLCHAIN_ISA=avx2 chooses the kernels for AVX2; with ONEDNN_MAX_CPU_ISA=AVX2 and
OPENBLAS_CORETYPE=Haswell, PyTorch and OpenBLAS do without AVX-512 too. --output: where
conv_weight_gradient-NETWORK.json and .md go.
"""

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from benchmarks.conv_weight_gradient_page import instruction_set, write
from graphs.build import OWN_DOMAIN
from graphs.kernels import library
from toolchain.measurement.circumstances import circumstances

RATIOS = (0.0, 0.15, 0.3, 0.5, 0.7, 0.9, 0.95)
DENSE = ("onnxruntime", "torch", "openblas")
WAY = "TOOLCHAIN_WEIGHT_GRADIENT"

Run = Callable[[], object]
Times = dict[str, float]


@dataclass(frozen=True)
class Layer:
    """`count` convolutions of a network, square and padded to keep the size but for the stride."""

    count: int
    channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int

    @property
    def kind(self) -> str:
        return f"{self.kernel}x{self.kernel} s{self.stride}"

    def __str__(self) -> str:
        return f"{self.channels}->{self.out_channels} {self.kind} {self.size}x{self.size}"

    @property
    def pad(self) -> int:
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def facts(self) -> dict[str, Any]:
        return {"kernel_shape": [self.kernel] * 2, "strides": [self.stride] * 2, "pads": [self.pad] * 4}

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.out_channels, self.channels, self.kernel, self.kernel


@dataclass(frozen=True)
class Network:
    batch: int
    layers: tuple[Layer, ...]


NETWORKS = {
    "resnet50": Network(
        8,
        (
            Layer(1, 64, 64, 1, 1, 56),
            Layer(3, 64, 64, 3, 1, 56),
            Layer(4, 64, 256, 1, 1, 56),
            Layer(2, 256, 64, 1, 1, 56),
            Layer(1, 256, 128, 1, 1, 56),
            Layer(1, 128, 128, 3, 2, 56),
            Layer(1, 256, 512, 1, 2, 56),
            Layer(3, 128, 128, 3, 1, 28),
            Layer(4, 128, 512, 1, 1, 28),
            Layer(3, 512, 128, 1, 1, 28),
            Layer(1, 512, 256, 1, 1, 28),
            Layer(1, 256, 256, 3, 2, 28),
            Layer(1, 512, 1024, 1, 2, 28),
            Layer(5, 256, 256, 3, 1, 14),
            Layer(6, 256, 1024, 1, 1, 14),
            Layer(5, 1024, 256, 1, 1, 14),
            Layer(1, 1024, 512, 1, 1, 14),
            Layer(1, 512, 512, 3, 2, 14),
            Layer(1, 1024, 2048, 1, 2, 14),
            Layer(2, 512, 512, 3, 1, 7),
            Layer(3, 512, 2048, 1, 1, 7),
            Layer(2, 2048, 512, 1, 1, 7),
        ),
    ),
    "cifar_resnet56": Network(
        64,
        (
            Layer(18, 16, 16, 3, 1, 32),
            Layer(1, 16, 32, 3, 2, 32),
            Layer(1, 16, 32, 1, 2, 32),
            Layer(17, 32, 32, 3, 1, 16),
            Layer(1, 32, 64, 3, 2, 16),
            Layer(1, 32, 64, 1, 2, 16),
            Layer(17, 64, 64, 3, 1, 8),
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="resnet50")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gc.disable()
    network = NETWORKS[arguments.network]
    measured = {}
    for layer in network.layers:
        measured[layer] = measure(contestants(layer, network.batch), arguments.rounds)
        print_row(layer, measured[layer], header=len(measured) == 1)
    print_sums(measured)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        facts = {"network": arguments.network, "batch": network.batch, "rounds": arguments.rounds}
        write(arguments.output / f"conv_weight_gradient-{arguments.network}", {**facts, **document(measured)})


def measure(contestants: Mapping[str, Run], rounds: int) -> Times:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            before = time.process_time()
            run()
            if turn:
                times[name].append(time.process_time() - before)
    return {name: 1000 * statistics.median(found) for name, found in times.items()}


def contestants(layer: Layer, batch: int) -> dict[str, Run]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, layer.channels, layer.size, layer.size), np.float32)
    dy = rng.standard_normal((batch, layer.out_channels, layer.out_size, layer.out_size), np.float32)
    found: dict[str, Run] = {
        "onnxruntime": onnxruntime_gradient(layer, x, dy),
        "torch": torch_gradient(layer, x, dy),
        "openblas": lambda: openblas_gradient(layer, x, dy),
        "own dense": own_gradient(layer, x, dy, 0, "dense"),
    }
    return found | {f"{ratio:g}": own_gradient(layer, x, dy, ratio, "sparse") for ratio in RATIOS}


def onnxruntime_gradient(layer: Layer, x: np.ndarray, dy: np.ndarray) -> Run:
    node = helper.make_node("ConvGrad", ["dy", "x", "w"], ["", "dw"], domain="com.microsoft", **layer.facts)
    feeds = {"dy": dy, "x": x, "w": np.zeros(layer.weight_shape, np.float32)}
    session = session_of(node, feeds)
    return lambda: session.run(None, feeds)


def torch_gradient(layer: Layer, x: np.ndarray, dy: np.ndarray) -> Run:
    tensors = torch.from_numpy(dy), torch.from_numpy(x), torch.zeros(layer.weight_shape)
    strides, pads = [layer.stride] * 2, [layer.pad] * 2
    wanted = (False, True, False)
    return lambda: torch.ops.aten.convolution_backward(*tensors, None, strides, pads, [1, 1], False, [0, 0], 1, wanted)


def openblas_gradient(layer: Layer, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Image by image, one product with what each tap meets."""
    size, step, pad = layer.out_size, layer.stride, layer.pad
    found = np.zeros((layer.out_channels, layer.channels * layer.kernel**2), np.float32)
    columns = np.empty((layer.channels, layer.kernel, layer.kernel, size, size), np.float32)
    for image, gradient in zip(x, dy, strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad))) if pad else image
        for i in range(layer.kernel):
            for j in range(layer.kernel):
                columns[:, i, j] = padded[:, i : i + step * size : step, j : j + step * size : step][:, :size, :size]
        found += gradient.reshape(layer.out_channels, -1) @ columns.reshape(found.shape[1], -1).T
    return found


def own_gradient(layer: Layer, x: np.ndarray, dy: np.ndarray, ratio: float, way: str) -> Run:
    sparsify = helper.make_node("Sparsify", ["x", "ratio"], ["values", "places"], domain=OWN_DOMAIN)
    given = {"x": x, "ratio": np.array([ratio], np.float32)}
    values, places = session_of(sparsify, given, ("values", "places")).run(None, given)
    facts = {**layer.facts, "out_channels": [0, layer.out_channels]}
    names = ["dy", "values", "places", "shape"]
    node = helper.make_node("ConvWeightGradient", names, ["dw"], domain=OWN_DOMAIN, **facts)
    feeds = {"dy": dy, "values": values, "places": places, "shape": np.array(x.shape)}
    session = session_of(node, feeds)

    def run() -> None:
        os.environ[WAY] = way
        session.run(None, feeds)

    return run


def session_of(
    node: onnx.NodeProto, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] = ("dw",)
) -> onnxruntime.InferenceSession:
    """A model of one node, in a session with one thread."""
    kinds = {"places": TensorProto.UINT8}
    graph = helper.make_graph(
        [node],
        node.op_type,
        [described(name, helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in feeds.items()],
        [described(name, kinds.get(name, TensorProto.FLOAT)) for name in outputs],
    )
    domains = {"": 18, "com.microsoft": 1, OWN_DOMAIN: 1}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(library(f"linux-{platform.machine()}")))
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def described(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None)


def print_row(layer: Layer, times: Times, header: bool) -> None:
    if header:
        heads = [name.rjust(11) for name in (*DENSE, "own dense")] + [f"{ratio:g}".rjust(7) for ratio in RATIOS]
        print("layer".ljust(25), " x", *heads, "best dense/.9", "/.95")
    cells = [f"{times[name]:11.2f}" for name in (*DENSE, "own dense")] + [f"{times[f'{r:g}']:7.2f}" for r in RATIOS]
    speedups = [f"{best_dense(times) / times[name]:13.2f}" for name in ("0.9", "0.95")]
    print(str(layer).ljust(25), f"{layer.count:2}", *cells, *speedups, flush=True)


def best_dense(times: Times) -> float:
    return min(times[name] for name in DENSE)


def print_sums(measured: Mapping[Layer, Times]) -> None:
    print("\nkind".ljust(9), *(f"/{r:g}".rjust(6) for r in RATIOS), " even with the best dense, with our own dense")
    for row in sums(measured):
        speedups = [f"{speedup:6.2f}" for speedup in row["speedups"]]
        print(
            row["kind"].ljust(8), *speedups, f"{row['even_with_best_dense']:26.2f} {row['even_with_own_dense']:20.2f}"
        )


def sums(measured: Mapping[Layer, Times]) -> list[dict[str, Any]]:
    """Of all layers and of each kind: how often as fast, and the ratio at which neither is faster."""
    found = []
    for kind in ["all", *sorted({layer.kind for layer in measured})]:
        chosen = {layer: times for layer, times in measured.items() if kind in ("all", layer.kind)}
        best = sum(layer.count * best_dense(times) for layer, times in chosen.items())
        own = sum(layer.count * times["own dense"] for layer, times in chosen.items())
        sparse = [sum(layer.count * times[f"{r:g}"] for layer, times in chosen.items()) for r in RATIOS]
        evens = {"even_with_best_dense": break_even(sparse, best), "even_with_own_dense": break_even(sparse, own)}
        found.append({"kind": kind, "speedups": [best / spent for spent in sparse], **evens})
    return found


def break_even(sparse: Sequence[float], dense: float) -> float:
    """The ratio at which the time, which falls with the ratio, is that of the dense way."""
    return float(np.interp(-dense, [-spent for spent in sparse], RATIOS))


def document(measured: Mapping[Layer, Times]) -> dict[str, Any]:
    """What the page is made of."""
    rows = [
        {"layer": str(layer), "count": layer.count, **times, "best_dense": best_dense(times)}
        for layer, times in measured.items()
    ]
    ratios = [f"{r:g}" for r in RATIOS]
    found = {**circumstances(), "kernels": instruction_set()}
    return {"ratios": ratios, "rows": rows, "sums": sums(measured), "circumstances": found}


if __name__ == "__main__":
    main()
