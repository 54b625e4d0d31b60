"""How large every tensor of a graph is, for a given batch and given prune ratios, without running it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from graphs.build import OWN_DOMAIN
from graphs.own_sizes import OWN_RULES, Rule, Walk
from graphs.tensor_size import TensorSize

GATE = ".gate"
"""How the name of a value ends, bool [1], that says whether a layer keeps anything."""

SMALL = 1024
"""Tensors up to this many elements are computed where they can be: shapes and ratios are made of them."""


def find_sizes(graph: ir.Graph, batch: int, ratios: Sequence[float] = ()) -> dict[ir.Value, TensorSize]:
    """The size of every value that can be told. ratios: [L], the prune ratios; only Sparsify needs them."""
    return _Interpreter(graph, batch, ratios).run()


@dataclass
class _Interpreter:
    """Walks a graph with the shape of every value, and the content of the small integers among them."""

    graph: ir.Graph
    batch: int
    ratios: Sequence[float]
    sizes: dict[ir.Value, TensorSize] = field(default_factory=dict)
    known: dict[ir.Value, np.ndarray] = field(default_factory=dict)
    flags: dict[ir.Value, int] = field(default_factory=dict)
    """How many flags are set in a mask, whatever its form."""

    def run(self) -> dict[ir.Value, TensorSize]:
        for value in [*self.graph.inputs, *self.graph.initializers.values()]:
            self._declare(value)
        self._learn_ratios()
        for node in self.graph:
            self._visit(node)
        return self.sizes

    def _declare(self, value: ir.Value) -> None:
        if value.shape is None or value.dtype is None:
            return
        dims = value.shape.evaluate({"N": self.batch}).dims
        if all(isinstance(dim, int) for dim in dims):
            self.sizes[value] = TensorSize(value.dtype, tuple(int(str(dim)) for dim in dims))
        if value.const_value is not None and value in self.sizes and self.sizes[value].elements <= SMALL:
            self.known[value] = value.const_value.numpy()

    def _learn_ratios(self) -> None:
        for value in self.graph.inputs:
            if value.name == "prune_ratios" and len(self.ratios):
                self.known[value] = np.asarray(self.ratios, np.float32)

    def _visit(self, node: ir.Node) -> None:
        if node.op_type in CARRIERS and node.inputs[0] in self.flags:
            self.flags[node.outputs[0]] = self.flags[node.inputs[0]]
        rule = (OWN_RULES if node.domain == OWN_DOMAIN else RULES).get(node.op_type)
        if str(node.outputs[0].name).endswith(GATE):
            self._open(node.outputs[0])
        elif rule is not None:
            self._record(node, rule(self, node))
        elif self._is_computable(node):
            self._compute(node)
        else:
            self._record(node, self._inferred(node))

    def _open(self, gate: ir.Value) -> None:
        """A gate is known once the step runs; open, it lets the most be kept."""
        self.known[gate] = np.array([True])
        self.sizes[gate] = TensorSize(ir.DataType.BOOL, (1,))

    def _record(self, node: ir.Node, sizes: Sequence[TensorSize | None]) -> None:
        for value, size in zip(node.outputs, sizes, strict=False):
            if size is not None:
                self.sizes[value] = size
            else:
                self._declare(value)

    def _is_computable(self, node: ir.Node) -> bool:
        determined = bool(node.inputs) or node.op_type == "Constant"
        return node.domain == "" and determined and all(v is None or v in self.known for v in node.inputs)

    def _compute(self, node: ir.Node) -> None:
        feeds = {str(value.name): self.known[value] for value in node.inputs if value is not None}
        results = ReferenceEvaluator(ir.serde.serialize_node(node)).run(None, feeds)
        for value, result in zip(node.outputs, results, strict=True):
            array = np.asarray(result)
            self.sizes[value] = TensorSize(ir.DataType.from_numpy(array.dtype), array.shape)
            if array.size <= SMALL:
                self.known[value] = array

    def _inferred(self, node: ir.Node) -> list[TensorSize | None]:
        nothing: list[TensorSize | None] = [None] * len(node.outputs)
        if any(value is not None and value not in self.sizes for value in node.inputs):
            return nothing
        try:
            schema = onnx.defs.get_schema(node.op_type, self.graph.opset_imports[""], node.domain)
        except onnx.defs.SchemaError:
            return nothing
        types = {str(v.name): _type_proto(self.sizes[v]) for v in node.inputs if v is not None}
        data = {str(v.name): onnx.numpy_helper.from_array(self.known[v]) for v in node.inputs if v in self.known}
        found = onnx.shape_inference.infer_node_outputs(schema, ir.serde.serialize_node(node), types, data)
        return [_size(found.get(str(value.name))) for value in node.outputs]


def _size_of_shape(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    """Shape and Size, whose results are known although their input is not."""
    source = node.inputs[0]
    assert source is not None
    if source not in walk.sizes:
        return [None]
    shape = np.array(walk.sizes[source].shape, np.int64)
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
    result = shape[start:end] if node.op_type == "Shape" else np.array(shape.prod(), np.int64)
    walk.known[node.outputs[0]] = result
    return [TensorSize(ir.DataType.INT64, result.shape)]


def _of_shape(dtype: ir.DataType, index: int) -> Rule:
    """An operator whose output has the shape that its input `index` says."""

    def rule(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
        shape = node.inputs[index]
        assert shape is not None
        return [TensorSize(dtype, tuple(int(dim) for dim in walk.known[shape]))]

    return rule


def _like(*indices: int) -> Rule:
    """An operator whose outputs are as its inputs `indices`."""

    def rule(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
        return [walk.sizes.get(source) for index in indices if (source := node.inputs[index]) is not None]

    return rule


def _normalised(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    """BatchNormInternal: like its input, and four statistics a channel."""
    activation, scale = node.inputs[:2]
    assert activation is not None and scale is not None
    return [walk.sizes[activation], *[walk.sizes[scale]] * 4]


def _scatter(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    """ScatterElements, which sets as many flags as it is given places if it starts from none."""
    data, places = node.inputs[:2]
    assert data is not None and places is not None
    if places in walk.sizes and walk.sizes[data].dtype == ir.DataType.BOOL:
        walk.flags[node.outputs[0]] = walk.sizes[places].elements
    return [walk.sizes[data]]


def _compress(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    data, mask = node.inputs
    assert data is not None and mask is not None
    return [TensorSize(walk.sizes[data].dtype, (walk.flags[mask],)) if mask in walk.flags else None]


def _places(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    """NonZero of a flat mask."""
    mask = node.inputs[0]
    return [TensorSize(ir.DataType.INT64, (1, walk.flags[mask])) if mask in walk.flags else None]


def _fused_product(walk: Walk, node: ir.Node) -> Sequence[TensorSize | None]:
    """A transposed matrix [K, M] times matrices [N, K, P]."""
    weight, matrices = (walk.sizes[value] for value in node.inputs if value is not None)
    return [TensorSize(matrices.dtype, (*matrices.shape[:-2], weight.shape[1], matrices.shape[-1]))]


CARRIERS = {"Reshape", "Cast", "Pad", "MatMulInteger", "BitwiseAnd", "Slice"}
"""What packing and unpacking a mask is made of."""

RULES: Mapping[str, Rule] = {
    "ScatterElements": _scatter,
    "MaxUnpool": _of_shape(ir.DataType.FLOAT, 2),
    "Compress": _compress,
    "NonZero": _places,
    "Shape": _size_of_shape,
    "Size": _size_of_shape,
    "BatchNormInternal": _normalised,
    "BatchNormalizationGrad": _like(1, 2, 2),
    "LayerNormalizationGrad": _like(1, 2, 2),
    "ConvGrad": _like(1, 2),
    "Gelu": _like(0),
    "GeluGrad": _like(1),
    "ReluGrad": _like(1),
    "SoftmaxGrad_13": _like(1),
    "LogSoftmaxGrad_13": _like(1),
    "Scale": _like(0),
    "GatherGrad": _of_shape(ir.DataType.FLOAT, 0),
    "FusedMatMul": _fused_product,
}


def _type_proto(size: TensorSize) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(int(size.dtype), size.shape)


def _size(found: Any) -> TensorSize | None:
    if found is None or not found.tensor_type.HasField("shape"):
        return None
    dims = found.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return TensorSize(ir.DataType(found.tensor_type.elem_type), tuple(dim.dim_value for dim in dims))
