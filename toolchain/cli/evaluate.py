"""Measure a bundle's error on corrupted images while it adapts, with the memory and time that takes."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.cli.arguments import count, executable, natural, rate, ratio_or_auto
from toolchain.cli.folders import make_folder
from toolchain.driver.bytesize import parse_bytes
from toolchain.driver.output import emit, warn
from toolchain.errors import DependencyError, UsageError
from toolchain.evaluation.orders import ORDERS


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--data", type=Path, required=True, help="CIFAR-10-C or ImageNet-C; or clean images, a .npz file or CLASS/*.jpg"
    )
    parser.add_argument(
        "--corruptions", metavar="NAME,...", help="in this order; of clean data, `clean` too (default: the papers' 15)"
    )
    parser.add_argument("--severity", type=count, default=5, metavar="1-5", help="(default: 5)")
    parser.add_argument("--order", choices=ORDERS, default="continual", help="(default: continual)")
    parser.add_argument("--rounds", type=count, default=1, metavar="N", help="times that all is shown (default: 1)")
    parser.add_argument("--images", type=count, metavar="M", help="of each corruption (default: all)")
    parser.add_argument("--batch", type=count, metavar="N", help="images a step (default: as the bundle was built)")
    parser.add_argument("--against", choices=("eager",), help="the same method in PyTorch, on the same batches")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where JSON, CSV and pictures go (default: nowhere)")
    _configure_driver(parser)


def _configure_driver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prune-ratio", type=ratio_or_auto, default="auto", metavar="auto|P", help="(default: auto)")
    parser.add_argument("--importance", choices=("probe", "previous"), default="probe", help="(default: probe)")
    parser.add_argument("--budget", type=parse_bytes, metavar="SIZE", help="most that a step may need, e.g. 96MiB")
    parser.add_argument("--learning-rate", type=rate, metavar="R", help="instead of the method's")
    parser.add_argument("--operators", choices=("auto", "native", "portable"), default="auto", help="(default: auto)")
    parser.add_argument("--seed", type=natural, default=0, help="of every random choice (default: 0)")
    parser.add_argument("--threads", type=count, default=1, help="(default: 1)")
    parser.add_argument("--python", type=executable, help="what runs the bundle (default: this Python)")


def run(options: argparse.Namespace) -> int:
    from toolchain.evaluation import table
    from toolchain.evaluation.evaluate import Shown, count_batches, evaluate
    from toolchain.evaluation.settings import Settings

    chosen = {**vars(options), "eager": options.against == "eager", "corruptions": _names(options.corruptions)}
    settings = Settings(**{name: chosen[name] for name in Settings.__dataclass_fields__ if chosen[name] is not None})
    shown = Shown(**{name: chosen[name] for name in Shown.__dataclass_fields__})
    if options.output is not None:
        make_folder(options.output)
    with _progress(count_batches(options.bundle, shown, settings.seed)) as announce:
        document = evaluate(options.bundle, shown, settings, announce)
    if options.output is not None:
        _write(document, options.output)
    emit(document, table.text(document), options.json)
    return 0


def _names(text: str | None) -> tuple[str, ...] | None:
    """Raises UsageError where there is none."""
    names = None if text is None else tuple(name for name in text.split(",") if name)
    if names == ():
        raise UsageError("--corruptions names none: give their names with commas between, or leave it out for all")
    return names


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, nothing elsewhere."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise DependencyError("evaluate needs tqdm: pip install 'toolchain[evaluate]'") from error
    with tqdm(total=total, unit="batch", disable=None, leave=False) as bar:

        def announce(corruption: str, error: float) -> None:
            bar.set_postfix_str(f"{corruption} {error:.1f} %", refresh=False)
            bar.update()

        yield announce


def _write(document: dict[str, Any], folder: Path) -> None:
    from toolchain.evaluation import pictures, table

    (folder / "evaluation.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table.write_csv(folder / "evaluation.csv", document["rows"])
    label = f"{document['model']}, {document['method']}"
    try:
        pictures.draw_corruptions({label: document}, folder / "corruptions.svg")
        if document["rounds"] > 1:
            pictures.draw_rounds({label: document}, folder / "rounds.svg")
    except DependencyError as missing:
        warn(str(missing))
