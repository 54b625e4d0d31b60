"""Runs one operator of the library in a session of its own."""

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from graphs.build import OWN_DOMAIN
from graphs.kernels import library
from graphs.kernels.build import PLATFORMS
from tests.kernels.record import FOLDER, Attribute, record

PLATFORM = f"linux-{platform.machine()}"
VARIABLE = "TOOLCHAIN_ISA"


@contextmanager
def using(isa: str) -> Iterator[None]:
    """Sessions made meanwhile take the kernels for this instruction set."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = isa
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


@cache
def kernels() -> Path:
    return library(PLATFORM)


def chosen_isa() -> str | None:
    """The instruction set that the library says it would use now."""
    function = ctypes.CDLL(str(kernels())).toolchain_isa
    function.restype = ctypes.c_char_p
    name: bytes | None = function()
    return name.decode() if name is not None else None


@cache
def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has and that the library has kernels for. Cases are recorded of the plainest."""
    if FOLDER is not None:
        return ("scalar",)

    def has(isa: str) -> bool:
        with using(isa):
            return chosen_isa() == isa

    return tuple(isa for isa in PLATFORMS[PLATFORM].instruction_sets if has(isa))


def run(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    attributes: Mapping[str, Attribute] | None = None,
    outputs: Sequence[type] = (np.float32,),
    isa: str | None = None,
    in_place: bool = False,
    threads: int = 1,
) -> list[np.ndarray]:
    """The outputs, of the types given, of one node of this type.

    inputs: None for an optional one that is missing. isa: the best that there is unless one is named.
    in_place: the node gets inputs that it may overwrite, and outputs that need not be the runtime's own.
    Raises onnxruntime's exception for what the operator refuses.
    """
    types = tuple(None if array is None else array.dtype.type for array in inputs)
    chosen = isa if isa is not None else instruction_sets()[-1]
    given = tuple(sorted((attributes or {}).items()))
    feeds = {f"x{number}": array for number, array in enumerate(inputs) if array is not None}
    try:
        session = _session(op_type, types, given, tuple(outputs), chosen, in_place, threads)
        found: list[np.ndarray] = session.run(None, feeds)
    except Exception as failure:
        record(op_type, attributes or {}, inputs, [], str(failure))
        raise
    record(op_type, attributes or {}, inputs, found)
    return found


@lru_cache(maxsize=64)
def _session(
    op_type: str,
    inputs: tuple[type | None, ...],
    attributes: tuple[tuple[str, Attribute], ...],
    outputs: tuple[type, ...],
    isa: str,
    in_place: bool,
    threads: int,
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.enable_mem_reuse = False
    with using(isa):
        options.register_custom_ops_library(str(kernels()))
    model = _model(op_type, inputs, dict(attributes), outputs, in_place)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _model(
    op_type: str,
    inputs: tuple[type | None, ...],
    attributes: dict[str, Attribute],
    outputs: tuple[type, ...],
    in_place: bool,
) -> ModelProto:
    """The node alone; or between copies, so that it reads and writes memory that is nobody else's."""
    names = ["" if kind is None else f"x{number}" for number, kind in enumerate(inputs)]
    results = [f"y{number}" for number in range(len(outputs))]
    mine = [name and f"{name}.copy" for name in names] if in_place else names
    theirs = [f"{name}.own" for name in results] if in_place else results
    node = helper.make_node(op_type, mine, theirs, domain=OWN_DOMAIN)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    nodes = [node]
    if in_place:
        before = [_copy(name, copy) for name, copy in zip(names, mine, strict=True) if name]
        after = [_copy(own, name) for own, name in zip(theirs, results, strict=True)]
        nodes = [*before, *nodes, *after]
    graph = helper.make_graph(
        nodes,
        op_type,
        [_described(name, kind) for name, kind in zip(names, inputs, strict=True) if kind is not None],
        [_described(name, kind) for name, kind in zip(results, outputs, strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(OWN_DOMAIN, 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def _copy(name: str, copy: str) -> NodeProto:
    """Concat of one tensor, which the runtime never does in place."""
    return helper.make_node("Concat", [name], [copy], axis=0)


def _described(name: str, kind: type) -> ValueInfoProto:
    elements = TensorProto.BOOL if kind is np.bool_ else helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return helper.make_tensor_value_info(name, elements, None)
