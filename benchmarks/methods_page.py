"""The page of `benchmarks.methods`: tables in Markdown and its pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods_cache_page import cache_table
from benchmarks.methods_claims import claims_table
from toolchain.driver.bytesize import format_bytes
from toolchain.evaluation import pictures

Document = Mapping[str, Any]
MIB = 1 << 20

INTRODUCTION = """\
# Methods on corrupted CIFAR-10

The bundle of each method, run by its own driver, on CIFAR-10's test images corrupted with the constants of CIFAR-10-C.
*Eager* is the same method in PyTorch on the same batches with the same random choices; *differing* is the share of
predictions in which the two differ. *Kept* is all that waits for the backward pass, a mean over batches; *peak* is the
most resident memory that a step needed above parameters, optimizer state and input, as the kernel counts it; CPU
seconds are the median of a step; both are of a run of one batch a corruption with no twin beside it. Learning rates are
those of the papers for CIFAR-10-C, where a model sees about as many batches. EcoTTA's meta networks and EATA's anchor
come from a tenth of the training images. One run, one seed, one thread.
"""

TITLES = {
    "table": "Fifteen corruptions, one after the other",
    "curve": "SURGEON against one ratio everywhere, at equal kept bytes",
    "rounds": "Ten times over",
    "batches": "Small batches",
    "cache": "ResNeXt-29 4x32d at batch 8: bytes kept, counted in two ways",
}

NOTES = {
    "rounds": """\
An eighth of the images, all corruptions ten times over, and nothing is reset in between. The picture is without
`source`, which lies far above. At the papers' learning rates no method ends above its first round. MECTA, whose
statistics follow from batch to batch and see five batches of each corruption here, errs more from its fourth round
on.""",
    "batches": """\
An eighth of the images, so that 64 a step are four batches of each corruption, which MECTA's statistics need longer to
follow. A single image normalised by itself leaves the average pooling behind the last BatchNorm nothing to tell classes
by. *Mixed*: the source's statistics count as 16 images beside the batch (`--source-samples 16`); SURGEON's authors mix
them on the Jetson and do not say how. Learning rates are those for batches of 50, too fast for who learns from every
few images. TENT at its rate loses what mixing gains, on ResNet-20's fifteen corruptions above as well; so does its
twin.""",
}
"""What a reader has to know of a part."""


def write_page(document: Mapping[str, Sequence[Document]], path: Path) -> None:
    writers: dict[str, Callable[[Sequence[Document], Path], Iterator[str]]] = {
        "table": _table,
        "curve": _curve,
        "rounds": _rounds,
        "batches": _batches,
        "cache": lambda documents, folder: cache_table(documents),
    }
    parts = [INTRODUCTION]
    if document.get("table"):
        parts.append("## What the papers say, and what was found\n\n" + "\n".join(claims_table(document)))
    for name, write in writers.items():
        if document.get(name):
            text = "\n".join(write(document[name], path.parent))
            parts.append("\n\n".join([f"## {TITLES[name]}", *([NOTES[name]] if name in NOTES else []), text]))
    parts.append("## Conditions\n\n" + "\n".join(_conditions(document)))
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def _by_model(documents: Sequence[Document]) -> Iterator[tuple[str, list[Document]]]:
    for model in dict.fromkeys(str(one["model"]) for one in documents):
        yield model, [one for one in documents if one["model"] == model]


def _table(documents: Sequence[Document], folder: Path) -> Iterator[str]:
    for model, found in _by_model(documents):
        yield f"{model}, severity 5, {found[0]['rows'][0]['images']} images of each, {found[0]['batch']} a batch:\n"
        yield "| | error | eager | difference | differing | kept | of dense | peak | CPU s |"
        yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
        for one in sorted(found, key=lambda one: -float(one["mean_error"])):
            eager = one["mean_eager_error"]
            cells = [f"{one['mean_error']:.2f}", f"{eager:.2f}", f"{one['mean_error'] - eager:+.2f}"]
            cells += [f"{100 * one['differing_predictions']:.2f} %", _bytes(one["kept_bytes"])]
            cells += [_share(one), _bytes(one["peak_step_bytes"]), f"{one['cpu_seconds']:.2f}"]
            yield f"| {one['label']} | " + " | ".join(cells) + " |"
        yield f"\n![error of each corruption](methods-{model}-corruptions.svg)\n"
        pictures.draw_corruptions(
            {str(one["label"]): one for one in found}, folder / f"methods-{model}-corruptions.svg"
        )
        yield f"![error against memory](methods-{model}-memory.svg)\n"
        trained = {str(one["label"]): [one] for one in found}
        pictures.draw_memory(trained, folder / f"methods-{model}-memory.svg", "peak_step_bytes")


def _curve(documents: Sequence[Document], folder: Path) -> Iterator[str]:
    for model, found in _by_model(documents):
        yield f"{model}:\n"
        yield "| | kept | error | budget | ratio |"
        yield "|---|---:|---:|---:|---:|"
        for one in sorted(found, key=lambda one: (str(one["label"]), float(one["kept_bytes"]))):
            cells = [_bytes(one["kept_bytes"]), f"{one['mean_error']:.2f}", _bytes(one["budget"]), one["prune_ratio"]]
            yield f"| {one['label']} | " + " | ".join(map(str, cells)) + " |"
        curves = {label: [one for one in found if one["label"] == label] for label in ("surgeon", "static")}
        pictures.draw_memory({k: v for k, v in curves.items() if v}, folder / f"methods-{model}-curve.svg")
        yield f"\n![error against kept bytes](methods-{model}-curve.svg)\n"


def _rounds(documents: Sequence[Document], folder: Path) -> Iterator[str]:
    for model, found in _by_model(documents):
        count = max(len(one["error_of_round"]) for one in found)
        yield f"{model}, mean error of each round:\n"
        yield "| | " + " | ".join(map(str, range(1, count + 1))) + " |"
        yield "|---|" + "---:|" * count
        for one in found:
            yield f"| {one['label']} | " + " | ".join(f"{error:.1f}" for error in one["error_of_round"]) + " |"
        adapting = {str(one["label"]): one for one in found if one["label"] != "source"}
        pictures.draw_rounds(adapting, folder / f"methods-{model}-rounds.svg")
        yield f"\n![error of each round](methods-{model}-rounds.svg)\n"


def _batches(documents: Sequence[Document], folder: Path) -> Iterator[str]:
    for model, found in _by_model(documents):
        sizes = sorted({int(one["batch"]) for one in found})
        errors = {(one["label"], one["batch"]): f"{one['mean_error']:.1f}" for one in found}
        names = ", ".join(dict.fromkeys(row["corruption"].replace("_", " ") for row in found[0]["rows"]))
        yield f"{model}, {names}, mean error by images a step:\n"
        yield "| | " + " | ".join(map(str, sizes)) + " |"
        yield "|---|" + "---:|" * len(sizes)
        for label in dict.fromkeys(one["label"] for one in found):
            yield f"| {label} | " + " | ".join(errors.get((label, size), "–") for size in sizes) + " |"
        yield ""


def _bytes(amount: float | None) -> str:
    return "–" if amount is None else format_bytes(round(amount))


def _share(one: Document) -> str:
    return f"{100 * one['kept_bytes'] / one['dense_bytes']:.1f} %" if one["dense_bytes"] else "–"


def _conditions(document: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    """The command, and what all was measured on."""
    yield "    python -m benchmarks.methods CIFAR10.npz --resnet56 FILE\n"
    measured = [one for found in document.values() for one in found if "versions" in one]
    for text in dict.fromkeys(map(_circumstances, measured)):
        yield f"- {text}"


def _circumstances(one: Document) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    bundles = ", ".join(f"{name} {version}" for name, version in one["bundle_versions"].items())
    return f"{one['processor']}, {one['processors']} processors; twins on {listed}; bundles on {bundles}"
