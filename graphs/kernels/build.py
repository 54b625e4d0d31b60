"""Compiles the kernels with clang, as Zig packs it: for any platform, from any."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCES = Path(__file__).parent
LIBRARY = "libtoolchain_kernels.so"
ONCE = {"call.c", "cpu.c", "lanes.c", "memory.c", "register.c"}
"""Sources that are no kernels: compiled once, not for each instruction set."""

OPTIONS = (
    *("-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror"),
    *("-fno-sanitize=undefined", "-fno-stack-protector"),
)
AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mmovbe", "-mpopcnt")
AVX512 = tuple(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vbmi", "vbmi2", "bitalg"))


@dataclass(frozen=True)
class Platform:
    """What a library is compiled for."""

    target: str
    """As Zig calls it, with the oldest C library that it runs on."""

    instruction_sets: dict[str, tuple[str, ...]]
    """Each with the options that it takes, under the name that `cpu.h` has for it."""


PLATFORMS = {
    "linux-x86_64": Platform("x86_64-linux-gnu.2.17", {"scalar": (), "avx2": AVX2, "avx512": (*AVX2, *AVX512)}),
    "linux-aarch64": Platform("aarch64-linux-gnu.2.31", {"scalar": (), "neon": ()}),
}


class BrokenBuild(Exception):
    """The compiler refused a source."""


def library(platform: str) -> Path:
    """The library of kernels for one of PLATFORMS; compiled if it is not in the user's cache yet."""
    path = _cache() / _version(platform) / LIBRARY
    if not path.exists():
        _build(PLATFORMS[platform], path)
    return path


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "toolchain" / "kernels"


def _version(platform: str) -> str:
    """A name that changes with all that the library is made of."""
    content = sha256(f"{platform} {version('ziglang')}".encode())
    for source in sorted([*SOURCES.glob("*.[ch]"), Path(__file__)]):
        content.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return f"{platform}-{content.hexdigest()[:16]}"


def _build(platform: Platform, path: Path) -> None:
    """Another process that does the same at the same time does no harm: each puts a whole file in its place."""
    _cache().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=_cache()) as folder:
        objects = compile_objects(platform, Path(folder))
        made = Path(folder) / LIBRARY
        options = ("-shared", "-s", "-Wl,-z,defs", "-Wl,-z,nodelete", "-o", str(made))
        _zig("cc", "-target", platform.target, *options, *map(str, objects), "-lm")
        path.parent.mkdir(exist_ok=True)
        made.replace(path)


def compile_objects(platform: Platform, folder: Path, options: Sequence[str] = OPTIONS) -> list[Path]:
    """Every source, the kernels once for each instruction set."""
    jobs: list[tuple[Path, str, tuple[str, ...]]] = [(SOURCES / name, "", ()) for name in sorted(ONCE)]
    for source in sorted(SOURCES.glob("*.c")):
        if source.name not in ONCE:
            jobs += [(source, isa, flags) for isa, flags in platform.instruction_sets.items()]

    def compile_one(job: tuple[Path, str, tuple[str, ...]]) -> Path:
        source, isa, flags = job
        made = folder / f"{source.stem}_{isa}.o"
        chosen = (f"-DISA={isa}", f"-DISA_{isa.upper()}=1") if isa else ()
        _zig("cc", "-target", platform.target, *options, *flags, *chosen, "-c", "-o", str(made), str(source))
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, jobs))


def _zig(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BrokenBuild(f"zig {' '.join(arguments)}\n{done.stderr}")
