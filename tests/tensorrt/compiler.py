"""C of the tests as shared libraries of this machine."""

import subprocess
import sys
from pathlib import Path

CUDART = Path(__file__).parent / "runtime" / "cudart.c"


def compile_library(source: Path, result: Path, *flags: str) -> Path:
    """A shared library for this machine."""
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags]
    subprocess.run([*command, str(source), "-o", str(result)], check=True, timeout=300)
    return result
