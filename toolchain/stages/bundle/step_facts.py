"""What the manifest says of a graph that a device runs."""

import functools
from collections.abc import Collection, Iterable

import onnx_ir as ir

from graphs import moments
from graphs.moments import Terms, find_timeline
from graphs.passes.schedule import UPDATED
from toolchain.artifacts import Lowered
from toolchain.driver.manifest import Condition, Moment, Saved, StepFacts, Store, TensorFacts

ROLES = {
    "images": "images",
    "prune_ratios": "prune_ratios",
    "learning_rate": "learning_rate",
    "optimizer.step": "counter",
    "active": "active",
    "sample_mask": "sample_mask",
    "targets": "targets",
    "log_targets": "log_targets",
    "channel_keys": "channel_keys",
    "probabilities": "average",
}
"""By name, of inputs that are no tensors of the model. Those of a parameter, NAME.KIND, follow their kind."""

KINDS = {"moment1": "moment", "moment2": "moment", "gradient": "gradient", "fisher": "frozen", "source": "frozen"}


def describe(
    file: str, model: ir.Model, lowered: Lowered, tensors: Collection[str], trained: Collection[str], terms: Terms
) -> StepFacts:
    """model: `lowered` as the device runs it. tensors: the names of the model's. terms: what is kept of its layers."""
    timeline = find_timeline(model.graph, terms, tensors)
    graph = lowered.step.graph
    statistics = {value.name.removesuffix(UPDATED) for value in graph.outputs if value.name} & set(tensors)
    role = functools.partial(_role, trained=trained, statistics=statistics - set(trained), tensors=tensors)
    return StepFacts(
        file=file,
        inputs=tuple(_facts(value, role(str(value.name))) for value in graph.inputs),
        outputs=tuple(_output_facts(graph.outputs)),
        stores=tuple(Store(i.layers, i.union, span) for i, span in zip(lowered.stores, timeline.spans, strict=True)),
        saved=tuple(Saved(**vars(tensor)) for tensor in lowered.saved),
        moments=tuple(_moment_facts(moment) for moment in timeline.moments),
        value_bits=terms.value_bits,
    )


def _role(name: str, trained: Collection[str], statistics: Collection[str], tensors: Collection[str]) -> str:
    if name in ROLES:
        return ROLES[name]
    if name in tensors:
        return "parameter" if name in trained else "statistic" if name in statistics else "frozen"
    return KINDS[name.rpartition(".")[2]]


def _moment_facts(moment: moments.Moment) -> Moment:
    condition = moment.condition
    facts = Condition(condition.source, condition.share) if condition is not None else None
    return Moment(**{**vars(moment), "condition": facts})


def _output_facts(outputs: Iterable[ir.Value]) -> Iterable[TensorFacts]:
    for value in outputs:
        name = str(value.name)
        updates = name.removesuffix(UPDATED) if name.endswith(UPDATED) else None
        yield _facts(value, name if updates is None else "state", updates)


def _facts(value: ir.Value, role: str, updates: str | None = None) -> TensorFacts:
    assert value.shape is not None and value.dtype is not None
    shape = tuple(dim if isinstance(dim, int) else "N" for dim in value.shape.dims)
    return TensorFacts(str(value.name), role, str(value.dtype.numpy()), shape, updates)
