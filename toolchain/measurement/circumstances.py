"""What the figures of another machine have to be read with."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "onnxruntime-training-cpu", "numpy")
ASK_BUNDLE_PYTHON = """
import importlib.metadata, json, platform
found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
relevant = {name: found[name] for name in sorted(found) if name == "numpy" or name.startswith("onnxruntime")}
print(json.dumps({"python": platform.python_version(), **relevant}))
"""


def circumstances(python: str = sys.executable) -> dict[str, Any]:
    """python: what runs the bundle; `bundle_versions` are its own."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "bundle_versions": _bundle_versions(python),
        "processor": processor(),
        "processors": os.cpu_count(),
    }


def processor() -> str:
    """The CPU's name, or what there is of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _bundle_versions(python: str) -> dict[str, str]:
    """Of the interpreter that runs the bundle; nothing if it cannot say."""
    done = subprocess.run([python, "-I", "-c", ASK_BUNDLE_PYTHON], capture_output=True, text=True, check=False)
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found
