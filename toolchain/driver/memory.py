"""Peak memory of a piece of work, measured by the kernel, and a C allocator that gives memory back at once."""

import ctypes
import os
from typing import Callable, Dict, Optional, Tuple, TypeVar

T = TypeVar("T")

RETURNED = 2048
"""Buffers of so many bytes and more go back to the system as soon as they are freed: each is pages of its own."""

_MAP, _TRIM, _PAD = -3, -1, -2

PLAIN_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(RETURNED),
    "MALLOC_TRIM_THRESHOLD_": str(RETURNED),
    "MALLOC_TOP_PAD_": "0",  # free memory above the smaller blocks would serve larger ones
}
"""The same for a process that is yet to start."""


def return_freed_memory() -> None:
    """From now on, unless the environment tells glibc's malloc otherwise.

    By itself glibc raises both thresholds as it runs and then keeps freed blocks. That is faster, since the system
    clears every page that it hands out, and takes more memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not PLAIN_MALLOC.keys() & os.environ.keys():
        mallopt(_MAP, RETURNED)
        mallopt(_TRIM, RETURNED)
        mallopt(_PAD, 0)


def measure_peak(work: Callable[[], T]) -> Tuple[T, Optional[int]]:
    """What `work` returns, and how far resident memory rose above its level before, in bytes.

    From VmHWM of /proc/self/status, reset through /proc/self/clear_refs (Linux, proc(5)); None where there is none.
    Pages of files, as those of programs, which `work` was the first to read do not count: the system takes them back.
    """
    _return_free_memory()
    resettable = _reset_high_water_mark()
    before = _status()
    result = work()
    after = _status()
    read = max(0, after.get("RssFile", 0) - before.get("RssFile", 0))
    return result, after["VmHWM"] - before["VmRSS"] - read if resettable else None


def resident_bytes() -> Optional[int]:
    """Of this process now; None where /proc is not."""
    return _status().get("VmRSS")


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
    """VmRSS, VmHWM and RssFile in bytes; empty where /proc is not."""
    try:
        with open("/proc/self/status") as stream:
            lines = [line.split() for line in stream if line.startswith(("VmRSS:", "VmHWM:", "RssFile:"))]
    except OSError:
        return {}
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
