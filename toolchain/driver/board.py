"""What this machine is, and the power that it draws where `tegrastats` says so."""

import os
import platform
import re
import statistics
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

INTERVAL_MILLISECONDS = 100
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?![\dkMG])")

Rails = Dict[str, List[int]]


def describe_board() -> Dict[str, Any]:
    """Model, JetPack's L4T release, processors and memory; None for what is not known."""
    return {
        "model": _first_line("/proc/device-tree/model"),
        "l4t": _first_line("/etc/nv_tegra_release"),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


@contextmanager
def power_drawn() -> Iterator[Rails]:
    """Milliwatts by rail (VDD_IN is the whole module), filled while the block runs; empty without tegrastats."""
    rails: Rails = {}
    try:
        command = ["tegrastats", "--interval", str(INTERVAL_MILLISECONDS)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield rails
        return
    reader = threading.Thread(target=_read, args=(process, rails), daemon=True)
    with process:
        reader.start()
        try:
            yield rails
        finally:
            process.terminate()
            reader.join()


def summarise_power(rails: Rails) -> Dict[str, Dict[str, float]]:
    """Mean and largest of each rail."""
    return {name: {"mean_mw": statistics.mean(found), "max_mw": max(found)} for name, found in rails.items()}


def parse_power(line: str) -> Dict[str, int]:
    """Milliwatts now by rail: `VDD_IN 4996mW/4980mW` on JetPack 5 and 6, `POM_5V_IN 4996/4980` on 4."""
    return {name: int(now) for name, now in _RAIL.findall(line)}


def _read(process: "subprocess.Popen[str]", rails: Rails) -> None:
    for line in process.stdout or ():
        for name, now in parse_power(line).items():
            rails.setdefault(name, []).append(now)


def _first_line(path: str) -> Any:
    try:
        return Path(path).read_text(errors="replace").splitlines()[0].rstrip("\0")
    except (OSError, IndexError):
        return None
