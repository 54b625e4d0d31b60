"""The command line of a bundle."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Callable, NoReturn, Optional

from toolchain.driver.bytesize import parse_bytes
from toolchain.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument as UsageError, so that it leaves like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def build_parser() -> Parser:
    """Each command with its arguments; the command's name is that of the module that runs it."""
    parser = Parser(prog="python3 BUNDLE", description="Predict with a model and adapt it to the images it meets.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="adapt|infer|run|bench|selftest")
    _add_adapt(commands.add_parser("adapt", help="predict batches and adapt the weights to them"))
    _add_infer(commands.add_parser("infer", help="predict with the adapted weights, or the shipped ones"))
    _add_run(commands.add_parser("run", help="predict every frame and adapt in the background"))
    _add_bench(commands.add_parser("bench", help="measure time and peak memory of adaptation steps"))
    _add_selftest(commands.add_parser("selftest", help="compare this device with what the bundle recorded"))
    return parser


def _add_adapt(parser: argparse.ArgumentParser) -> None:
    _add_images(parser, ", or - for batches as .npy arrays on standard input")
    _add_step(parser)
    _add_learning(parser)
    parser.add_argument("--measure", action="store_true", help="add measured peak memory and CPU time to each result")
    _add_common(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_images(parser, ", or - for frames as .npy arrays on standard input")
    parser.add_argument("--every", type=_positive, default=1, metavar="K", help="steps between refits (1)")
    parser.add_argument("--fps", type=_frequency, metavar="F", help="frames a second (as fast as steps follow)")
    _add_step(parser)
    _add_learning(parser)
    _add_engine(parser)
    _add_common(parser)


def _add_infer(parser: argparse.ArgumentParser) -> None:
    _add_images(parser)
    _add_engine(parser)
    _add_common(parser)


def _add_selftest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all that was found out as JSON")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder that keeps the engine (BUNDLE-state)")
    _add_engine(parser)
    _add_common(parser)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=_positive, metavar="N", help="random images a step (the manifest's)")
    parser.add_argument("--steps", type=_positive, default=3, metavar="K", help="measured steps, after a first (3)")
    _add_step(parser)
    _add_common(parser)
    parser.set_defaults(learning_rate=None)


def _add_images(parser: argparse.ArgumentParser, others: str = "") -> None:
    parser.add_argument("--images", type=Path, required=True, metavar="DIR|FILE.npy", help=f"what to look at{others}")
    parser.add_argument("--batch", type=_positive, metavar="N", help="images at a time (the manifest's)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of the adapted state (BUNDLE-state)")


def _add_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prune-ratio", default="auto", metavar="auto|P|FILE.npy", help="share not kept (auto)")
    parser.add_argument("--importance", choices=("probe", "previous"), default="probe", help="what auto ratios follow")
    parser.add_argument(
        "--budget", type=parse_bytes, metavar="BYTES", help="most memory that a step may need, as 96MiB"
    )
    parser.add_argument("--operators", choices=("auto", "native", "portable"), default="auto", help="kernels (auto)")
    parser.add_argument("--seed", type=_count, default=0, metavar="S", help="of every random choice (0)")


def _add_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--learning-rate", type=_rate, metavar="R", help="instead of the method's")
    parser.add_argument("--save-every", type=_positive, default=1, metavar="K", help="batches between saves (1)")
    parser.add_argument("--no-save", action="store_true", help="forget what was learnt")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    engines, ways = ("auto", "tensorrt", "onnxruntime"), ("auto", "libcudart", "cuda-python", "pycuda")
    parser.add_argument("--engine", choices=engines, default="auto", help="what predicts (auto: TensorRT if it works)")
    parser.add_argument("--cuda", choices=ways, default="auto", help="how TensorRT's memory is reached (auto)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_positive, metavar="T", help="threads (every processor)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout and nothing else")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the traceback of an error")


def _number(convert: Callable[[str], float], least: float, text: str, what: str) -> float:
    value: Optional[float] = None
    with suppress(ValueError):
        value = convert(text)
    if value is None or not least <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _positive(text: str) -> int:
    return int(_number(int, 1, text, "a whole number from 1"))


def _count(text: str) -> int:
    return int(_number(int, 0, text, "a whole number from 0"))


def _rate(text: str) -> float:
    return _number(float, 0.0, text, "a number from 0")


def _frequency(text: str) -> float:
    return _number(float, 1e-3, text, "a number from 0.001")
