"""What the driver tells the C allocator."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from toolchain.driver.memory import PLAIN_MALLOC

FREED = 8 << 20
KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}

PROGRAM = f"""
import ctypes
from toolchain.driver.memory import resident_bytes, return_freed_memory
return_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before, block = resident_bytes(), ctypes.c_void_p(libc.malloc({FREED}))
fence = libc.malloc(1)
ctypes.memset(block, 1, {FREED})
libc.free(block)
print(resident_bytes() - before)
"""


@pytest.mark.parametrize(("chosen", "keeps"), [({}, False), (PLAIN_MALLOC, False), (KEEPING, True)])
def test_freed_memory_goes_back_unless_the_environment_says_otherwise(chosen: Mapping[str, str], keeps: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in PLAIN_MALLOC}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env={**plain, **chosen}, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > FREED // 2) == keeps
