"""The part of the page of methods that tells what the two counts of kept bytes have different."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolchain.driver.bytesize import format_bytes

Document = Mapping[str, Any]

ABOUT = """\
The rule of SURGEON's paper counts the float32 values of the inputs of trained convolutions and BatchNorms and nothing
else: no places of kept values, no masks of ReLU, no statistics, no copies of weights; where that is less than the
largest input of a layer, which a forward pass holds anyway, that input. *All that waits* is everything between the
forward and the backward pass of the bundle; *dense* is what onnxruntime-training keeps of the same graph. Weights are
random. `full` is what the rule gives: the paper's table has no such row.
"""

COLUMNS = {
    "published": "published_bytes",
    "the bundle, by that rule": "kept_bytes_by_their_rule",
    "the bundle, all that waits": "kept_bytes",
    "dense, all": "dense_bytes",
    "measured peak": "peak_step_bytes",
}

DIFFERENCES = {
    "bn": "nothing trains and nothing waits; the rule's figure is the largest input of a layer.",
    "full": (
        "the rule counts the input of each BatchNorm and that of each convolution, twice where two convolutions "
        "read the same. Where only BatchNorm and ReLU lie between the two, the bundle keeps the centred input of "
        "the BatchNorm and computes that of the convolution from it. A kept value takes 28 bits and its place one."
        " Masks of ReLU are {mask}."
    ),
    "tent": (
        "the values of the rule, with their places in 29 bits each; and masks of ReLU, {mask}, which every "
        "gradient needs that passes one."
    ),
    "cotta": (
        "as `full`. In neither count is the teacher, {beside}, which lives from batch to batch, or the shipped "
        "weights that it forgets towards; its predictions are forward passes alone, which keep nothing."
    ),
    "ecotta": (
        "one meta network for each of the three stages, at three tensors (the inputs of its convolution and of "
        "both its BatchNorms), gives the published figure. The bundle has four, as EcoTTA's own models have, two "
        "of them in the first stage, whose maps are the largest. Masks of ReLU, which the frozen part needs too, "
        "are {mask}."
    ),
    "mecta": (
        "three tenths of the channels of each BatchNorm that is on, rounded up to whole ones, in float32. With "
        "random weights every batch is news to every layer, so that all are on; the published figure is "
        "{published_share} of that, as when part of the layers of a trained network rest. Masks of ReLU are "
        "{mask}, statistics of batch and source {other}."
    ),
    "surgeon": (
        "the ratios follow the gradients, which with random weights are others than the paper's. Values of 28 bits"
        " and their places are {activations}; masks of ReLU, {mask}, are what no ratio makes smaller."
    ),
    "surgeon fp16": "the same with values of 16 bits: {activations} with their places.",
}
"""Of each method, in words; for the amounts see `_amounts`."""


def cache_table(documents: Sequence[Document]) -> Iterator[str]:
    yield ABOUT
    yield f"| | {' | '.join(COLUMNS)} |"
    yield "|---|" + "---:|" * len(COLUMNS)
    for one in documents:
        yield f"| {one['label']} | " + " | ".join(_bytes(one[name]) for name in COLUMNS.values()) + " |"
    yield "\nWhat is different:\n"
    for one in documents:
        if one["label"] in DIFFERENCES:
            yield f"- `{one['label']}`: {DIFFERENCES[one['label']].format(**_amounts(one))}"


def _amounts(one: Document) -> dict[str, str]:
    published, mask, other = one["published_bytes"], one["mask_bytes"], one["other_bytes"]
    return {
        "mask": _bytes(mask),
        "other": _bytes(other),
        "activations": _bytes(one["kept_bytes"] - mask - other),
        "beside": _bytes(one["beside_bytes"]),
        "published_share": "–" if published is None else f"{published / one['kept_bytes_by_their_rule']:.2f}",
    }


def _bytes(amount: float | None) -> str:
    return "–" if amount is None else format_bytes(round(amount))
