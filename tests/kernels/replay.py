"""Asks other builds of the kernels for what was recorded of the plainest: the library for aarch64 on an emulated
machine, and the sources as clang's sanitizers compile them.

python -m tests.kernels.replay aarch64|sanitizers CASES DEBIAN    the folders that record.py and `make debian` fill
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from graphs.kernels import library
from graphs.kernels.build import OPTIONS, PLATFORMS, compile_objects
from tests.kernels.harness import VARIABLE, instruction_sets

RUNTIME = Path(__file__).parent / "runtime"
FAULTS = RUNTIME / "faults.c"
REPLAY = tuple(sorted({*RUNTIME.glob("*.c")} - {FAULTS}))
MOST_SECONDS = 900


@dataclass(frozen=True)
class Sanitizer:
    """What programs are compiled with, the library that they are linked with, and what that says of faults.c."""

    options: tuple[str, ...]
    library: str
    faults: dict[str, str]


SANITIZERS = {
    "AddressSanitizer, UndefinedBehaviorSanitizer": Sanitizer(
        ("-fsanitize=address", "-fsanitize=undefined", "-fsanitize=float-cast-overflow"),
        "libclang_rt.asan-x86_64.a",
        {"overrun": "heap-buffer-overflow", "leak": "detected memory leaks", "overflow": "signed integer overflow"},
    ),
    "ThreadSanitizer": Sanitizer(("-fsanitize=thread",), "libclang_rt.tsan-x86_64.a", {"race": "data race"}),
}


@dataclass(frozen=True)
class Program:
    """A program that replays cases, of kernels for this instruction set."""

    name: str
    command: tuple[str, ...]
    isa: str

    def replay(self, cases: Sequence[Path]) -> bool:
        begin = monotonic()
        done = run([*self.command, *map(str, cases)], {VARIABLE: self.isa})
        summary = done.stdout.splitlines()[-1:] or ["nothing"]
        print(f"{self.name}, {self.isa}: {summary[0]} ({monotonic() - begin:.0f} s)", flush=True)
        right = not done.returncode and not done.stderr
        if not right:
            print(done.stdout, done.stderr, f"exit code {done.returncode}", sep="\n", flush=True)
        return right


def run(command: Sequence[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    settings = f"external_symbolizer_path={shutil.which('addr2line') or ''}"
    everything = {**os.environ, **dict.fromkeys(("ASAN_OPTIONS", "TSAN_OPTIONS"), settings), **environment}
    return subprocess.run(command, env=everything, capture_output=True, text=True, timeout=MOST_SECONDS)


def zig(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *map(str, arguments)], check=True, timeout=MOST_SECONDS)


def compile_all(sources: Iterable[Path], target: str, folder: Path, options: Iterable[str] = ()) -> list[Path]:
    """What is not of the product."""
    given = ("-target", target, "-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", *options)
    objects = {source: folder / f"of_tests_{source.stem}.o" for source in sources}
    for source, made in objects.items():
        zig(*given, "-c", "-o", made, source)
    return list(objects.values())


def link(objects: Iterable[Path], target: str, program: Path, options: Iterable[str] = ()) -> str:
    zig("-target", target, "-o", program, *objects, *options, "-lpthread", "-lm")
    return str(program)


def on_aarch64(debian: Path, folder: Path) -> list[Program]:
    """The library itself, as it is loaded and run by another kind of machine."""
    built, platform = library("linux-aarch64"), PLATFORMS["linux-aarch64"]
    objects = compile_all(REPLAY, platform.target, folder)
    program = link([*objects, built], platform.target, folder / "replay", [f"-Wl,-rpath,{built.parent}"])
    machine = (str(debian / "usr/bin/qemu-aarch64"), "-L", str(debian / "usr/aarch64-linux-gnu"))
    return [Program("aarch64", (*machine, program), isa) for isa in platform.instruction_sets]


def with_sanitizers(debian: Path, folder: Path) -> list[Program]:
    """For every instruction set of this machine."""
    platform, programs = PLATFORMS["linux-x86_64"], []
    for name, sanitizer in SANITIZERS.items():
        place = folder / name.split("Sanitizer")[0]
        place.mkdir()
        runtime = debian / "usr/lib/llvm-22/lib/clang/22/lib/linux" / sanitizer.library
        whole = ("-Wl,--whole-archive", str(runtime), "-Wl,--no-whole-archive")
        options = (*whole, "-rdynamic", "-lunwind", "-lrt", "-ldl")
        faults = compile_all([FAULTS], platform.target, place, sanitizer.options)
        notices(link(faults, "native", place / "faults", options), sanitizer)
        objects = compile_all(REPLAY, platform.target, place, sanitizer.options)
        objects += compile_objects(platform, place, (*OPTIONS, "-O1", "-g", "-Wno-pass-failed", *sanitizer.options))
        program = link(objects, "native", place / "replay", options)
        programs += [Program(name, (program,), isa) for isa in instruction_sets()]
    return programs


def notices(program: str, sanitizer: Sanitizer) -> None:
    for fault, words in sanitizer.faults.items():
        done = run([program, fault], {})
        if words not in done.stderr:
            raise SystemExit(f"error: a sanitizer does not notice this fault: {fault}\n{done.stderr}")


def main(what: str, cases: str, debian: str) -> int:
    files = sorted(Path(cases).glob("*.case"))
    if not files:
        raise SystemExit(f"error: no cases in {cases}")
    with TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        programs = {"aarch64": on_aarch64, "sanitizers": with_sanitizers}[what](Path(debian), Path(folder))
        outcomes = list(pool.map(lambda program: program.replay(files), programs))
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
