"""Check that this machine has what builds need, and in versions that work."""

import argparse
import importlib.metadata
import platform
import sys

from toolchain.driver.output import emit

NEEDED = {
    "torch": None,
    "torchvision": None,
    "onnx": None,
    "onnx-ir": None,
    "onnxscript": None,
    "onnxruntime-training-cpu": "1.19.2",
    "safetensors": None,
    "numpy": None,
}
"""Package: the only version that works, if there is one."""


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> int:
    checks = [_python(), *(_package(name, version) for name, version in NEEDED.items()), _one_runtime()]
    passed = all(check["passed"] for check in checks)
    lines = [f"{'pass' if i['passed'] else 'FAIL'}  {i['name']:<26} {i['found']}{i['advice']}" for i in checks]
    emit({"passed": passed, "checks": checks}, "\n".join(lines), options.json)
    return 0 if passed else 1


def _python() -> dict[str, object]:
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    advice = "" if fits else ": onnxruntime-training has wheels for Python 3.10 to 3.12"
    return {"name": "Python", "passed": fits, "found": platform.python_version(), "advice": advice}


def _package(name: str, version: str | None) -> dict[str, object]:
    found = _version(name)
    fits = found is not None and version in (None, found)
    wanted = f"{name}=={version}" if version else name
    advice = "" if fits else f": pip install {wanted}"
    return {"name": name, "passed": fits, "found": found or "missing", "advice": advice}


def _one_runtime() -> dict[str, object]:
    """onnxruntime and onnxruntime-training-cpu write into the same folder, and the later one wins."""
    found = _version("onnxruntime")
    advice = "" if found is None else ": uninstall it, then reinstall onnxruntime-training-cpu"
    return {"name": "no stock onnxruntime beside", "passed": found is None, "found": found or "none", "advice": advice}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
