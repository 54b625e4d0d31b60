"""Peak memory of a piece of work, measured by the kernel, and a C allocator that gives memory back at once."""

import ctypes
import os
import sys
from typing import Callable, Dict, Optional, Sequence, Tuple, TypeVar

T = TypeVar("T")

# glibc raises both thresholds as it runs and then keeps freed blocks; fixed, buffers above 128 KiB go back at once.
PLAIN_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def ensure_plain_malloc(bundle: str, argv: Sequence[str]) -> None:
    """Start the process again with PLAIN_MALLOC in its environment, unless it is there. Returns only if it is."""
    if all(os.environ.get(name) == value for name, value in PLAIN_MALLOC.items()):
        return
    isolated = ["-I"] if sys.flags.isolated else []
    os.execve(sys.executable, [sys.executable, *isolated, bundle, *argv], {**os.environ, **PLAIN_MALLOC})


def measure_peak(work: Callable[[], T]) -> Tuple[T, Optional[int]]:
    """What `work` returns, and how far resident memory rose above its level before, in bytes.

    From VmHWM of /proc/self/status, reset through /proc/self/clear_refs (Linux, proc(5)); None where there is none.
    """
    _return_free_memory()
    resettable = _reset_high_water_mark()
    before = _status()
    result = work()
    after = _status()
    return result, after["VmHWM"] - before["VmRSS"] if resettable else None


def _return_free_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water_mark() -> bool:
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError:
        return False
    return True


def _status() -> Dict[str, int]:
    """VmRSS and VmHWM in bytes; empty where /proc is not."""
    try:
        with open("/proc/self/status") as stream:
            lines = [line.split() for line in stream if line.startswith(("VmRSS:", "VmHWM:"))]
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
