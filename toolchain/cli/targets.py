"""List the boards, or show one with the source of every fact and how fast it could be at best."""

import argparse
from typing import Any

from toolchain.cli.arguments import count, ratio
from toolchain.driver.output import emit, progress
from toolchain.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a board; without it, all are listed")
    parser.add_argument("--model", default="resnet50", metavar="M|none", help="what is estimated (default: resnet50)")
    parser.add_argument("--batch", type=count, default=8, help="images of a step (default: 8)")
    parser.add_argument("--prune-ratio", type=ratio, default=0.9, help="ratio of every layer (default: 0.9)")


def run(options: argparse.Namespace) -> int:
    return _list(options) if options.name is None else _show(options)


def _list(options: argparse.Namespace) -> int:
    from targets import load_target, target_names

    found = [load_target(name) for name in target_names()]
    text = "\n".join(f"{target.name:<14} {target.title}" for target in found)
    emit({"targets": [target.as_json() for target in found]}, text, options.json)
    return 0


def _show(options: argparse.Namespace) -> int:
    from targets import load_target

    try:
        target = load_target(options.name)
    except LookupError as error:
        raise UsageError(str(error.args[0])) from error
    if not options.json:
        print(_facts(target), flush=True)  # before the estimate, which takes its time
    estimated = _estimate(target, options) if options.model != "none" else None
    if options.json:
        emit({**target.as_json(), "estimate": estimated}, "", True)
    elif options.model != "none":
        print(_text(estimated) if estimated else "\nno estimate: the peaks of this machine are not known")
    return 0


def _facts(target: Any) -> str:
    notes = [f"  note: {note}" for note in target.notes]
    rows = [f"  {key:<32} {fact.value!s:<16} {fact.source}" for key, fact in target.facts.items()]
    return "\n".join([f"{target.name}: {target.title}", *notes, *rows])


def _estimate(target: Any, options: argparse.Namespace) -> dict[str, Any] | None:
    from toolchain.roofline import LABEL, estimate, known_peaks

    if not known_peaks(target):
        return None
    progress(f"counting the work of {options.model} ...")
    predicting, adapting = estimate(target, options.model, options.batch, options.prune_ratio)
    progress("")
    both = {"inference": predicting.as_json(), "adaptation": adapting.as_json()}
    return {"label": LABEL, "model": options.model, "prune_ratio": options.prune_ratio, **both}


def _text(estimated: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"\n{estimated['model']}: {estimated['label']}; what really runs takes longer",
            f"  inference   {_row(estimated['inference'])}",
            f"  adaptation  {_row(estimated['adaptation'])}, ratio {estimated['prune_ratio']:g}",
        ]
    )


def _row(numbers: dict[str, Any]) -> str:
    images = f"{numbers['images']} image" + ("s" if numbers["images"] > 1 else "")
    return (
        f"{1e3 * numbers['seconds']:8.1f} ms  bound by {numbers['bound']}: {numbers['flops'] / 1e9:.1f} GFLOP and "
        f"{numbers['bytes'] / 1e6:.0f} MB in {numbers['precision']} on the {numbers['processor']}, {images}"
    )
