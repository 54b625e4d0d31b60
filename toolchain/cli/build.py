"""Build the bundle of a model for a board."""

import argparse
from pathlib import Path

from toolchain.cli.arguments import count, natural, ratio
from toolchain.driver.bytesize import format_bytes, parse_bytes
from toolchain.driver.output import emit, progress


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="torchvision name, timm:NAME, package.module:factory, or ours")
    parser.add_argument("--target", required=True, help="board, see `toolchain targets`")
    _add_method(parser)
    parser.add_argument("--weights", metavar="FILE|none", help="safetensors or torch checkpoint; none: random values")
    parser.add_argument("--batch", type=count, default=8, help="images a step, usually (default: 8)")
    parser.add_argument("--image-size", type=count, help="side in pixels (default: as the model was trained)")
    parser.add_argument(
        "--memory-budget", type=parse_bytes, metavar="SIZE", help="most that a step may need, e.g. 96MiB"
    )
    parser.add_argument("--values", default="fp32", metavar="fp32|fp16", help="precision of what is kept (fp32)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="the bundle (default: MODEL-TARGET)")
    parser.add_argument("--stop-after", metavar="STAGE", help="write that stage's graphs to the folder, and stop")


def _add_method(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="surgeon", help="adaptation method, see `toolchain methods`")
    parser.add_argument("--train", choices=("full", "bn"), help="what adapts (default: the method's own)")
    parser.add_argument(
        "--prune", metavar="dense|static|surgeon", help="what chooses the prune ratios (default: the method's own)"
    )
    parser.add_argument(
        "--selection",
        action="store_true",
        help="learn from certain samples only (SURGEON's CSS; for mecta EATA's filters)",
    )
    parser.add_argument("--consistency", action="store_true", help="and from an augmented view (SURGEON's CR)")
    parser.add_argument(
        "--setting",
        metavar="cifar10|cifar100|imagenet",
        help="whose numbers of the method's paper (default: by the model's classes and its images' size)",
    )
    parser.add_argument(
        "--probe-ratio", type=ratio, metavar="P", help="how much of SURGEON's probe is pruned, 0 to 1 (0.9)"
    )
    parser.add_argument(
        "--source-samples",
        type=natural,
        metavar="N",
        help="the source's statistics count as N images beside a batch (0)",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FILE.npz|DIR",
        help="images that the model was trained for: eata and, labelled, ecotta need them",
    )


def run(options: argparse.Namespace) -> int:
    from toolchain.pipeline import Request, build  # imports torch

    chosen = {name: value for name, value in vars(options).items() if name in Request.__dataclass_fields__}
    report = build(Request(**chosen), announce=lambda stage: progress(f"{stage} ..."))
    progress("")
    result = {
        "bundle": str(report.folder),
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "stages": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in report.stages],
    }
    emit(result, f"{report.folder}: {format_bytes(report.bytes)}, built in {report.seconds:.0f} s", options.json)
    return 0
