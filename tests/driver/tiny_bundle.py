"""A whole bundle around the tiny model, made without the compiler, and a way to run it as a user does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.driver import tiny_numpy
from tests.driver.tiny_graphs import EPSILON, HIDDEN, IN, SIDE, STEP_INPUTS, STEP_OUTPUTS, infer_model, step_model
from toolchain.driver.bundle import file_facts
from toolchain.driver.tensors import write_tensors

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_ROLES = ("parameter", "frozen", "statistic")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def device_python() -> str:
    """The Python of the device's environment; TOOLCHAIN_DEVICE_PYTHON names another."""
    candidate = os.environ.get("TOOLCHAIN_DEVICE_PYTHON", str(ROOT / ".venv/device/bin/python"))
    return candidate if Path(candidate).exists() else sys.executable


def run(bundle: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """python3 -I BUNDLE arguments… on the device's Python."""
    command = [device_python(), "-I", str(bundle), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


def make_bundle(folder: Path) -> Path:
    """Write the tiny bundle at `folder`."""
    for name in ("adapt", "infer", "reference", "driver"):
        (folder / name).mkdir(parents=True)
    state = tiny_numpy.initial_state()
    onnx.save(step_model(), folder / "adapt/step-portable.onnx")
    onnx.save(infer_model(tiny_numpy.folded(state)), folder / "infer/model.onnx")
    (folder / "infer/tensorrt.json").write_text(json.dumps({"refit": refit_table()}))
    shipped = {name: state[name] for name, role, _, _ in STEP_INPUTS if role in SHIPPED_ROLES}
    write_tensors(folder / "parameters.safetensors", shipped, {})
    np.savez(folder / "reference/step.npz", **reference(state))  # type: ignore[arg-type]
    copy_driver(folder)
    write_manifest(folder, manifest())
    return folder


def copy_driver(folder: Path) -> None:
    source, target = ROOT / "toolchain", folder / "driver/toolchain"
    shutil.copytree(source / "driver", target / "driver", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py"):
        shutil.copy(source / name, target / name)
    shutil.copy(source / "driver/launcher.py", folder / "__main__.py")


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """manifest.json, with the facts of the files as they are."""
    facts = {name: vars(facts) for name, facts in file_facts(folder).items()}
    (folder / "manifest.json").write_text(json.dumps({**content, "files": facts}, indent=1))


def manifest() -> dict[str, Any]:
    preprocessing = {
        "resize": 6, "interpolation": "bilinear", "crop": SIDE, "range": 1.0,
        "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
    }  # fmt: skip
    return {
        "format": 2,
        "toolchain": "0.1.0",
        "model": {"name": "tiny", "classes": 5, "channels": 3, "image_size": SIDE, "preprocessing": preprocessing},
        "method": {
            "name": "surgeon", "train": "full", "controller": "surgeon", "learning_rate": 0.05, "optimizer": "sgd",
            "probe": {"samples": 1, "prune_ratio": 0.9},
        },
        "batch": 4,
        "memory_budget": None,
        "target": {"name": "any-linux"},
        "layers": [
            {"name": "first", "kind": "linear", "elements_per_sample": IN, "parameter": "first.weight"},
            {"name": "second", "kind": "linear", "elements_per_sample": HIDDEN, "parameter": "second.weight"},
        ],
        "dense_saved_bytes_per_sample": 4 * (IN + HIDDEN) + HIDDEN,
        "step": {
            "file": "adapt/step-portable.onnx",
            "inputs": [tensor(*spec) for spec in STEP_INPUTS],
            "outputs": [tensor(*spec) for spec in STEP_OUTPUTS],
            "stores": [{"layers": [0]}, {"layers": [1]}],
            "saved": [{"name": "relu", "kind": "mask", "bytes_per_sample": HIDDEN // 8, "bytes": 0}],
        },
        "native": None,
        "infer": {"file": "infer/model.onnx", "input": "images", "output": "logits", "recipe": "infer/tensorrt.json"},
        "reference": "reference/step.npz",
    }  # fmt: skip


def tensor(name: str, role: str, dtype: str, shape: list[Any]) -> dict[str, Any]:
    facts = {"name": name, "role": role, "dtype": dtype, "shape": shape}
    return {**facts, "updates": name[: -len(".updated")]} if role == "state" else facts


def refit_table() -> list[dict[str, Any]]:
    norm = {
        "weight": None, "bias": None, "running_mean": "norm.running_mean", "running_var": "norm.running_var",
        "epsilon": EPSILON,
    }  # fmt: skip
    shapes = {name: shape for name, _, _, shape in STEP_INPUTS}

    def entry(name: str, kind: str, parameter: str, batchnorm: object) -> dict[str, Any]:
        return {"name": name, "kind": kind, "shape": shapes[parameter], "parameter": parameter, "batchnorm": batchnorm}

    return [
        entry("first.w", "weight", "first.weight", norm),
        entry("first.b", "bias", "first.bias", norm),
        entry("second.w", "copy", "second.weight", None),
    ]


def reference(state: tiny_numpy.State) -> dict[str, np.ndarray]:
    """Inputs, and the outputs that numpy gives for them."""
    inputs = {
        "images": random_images(2),
        "prune_ratios": np.array([0.5, 0.25], np.float32),
        "learning_rate": np.array([0.05], np.float32),
    }
    found = tiny_numpy.step(state, inputs["images"], inputs["prune_ratios"], 0.05)
    outputs = {
        "logits": found.logits.astype(np.float32),
        "loss": np.array([found.loss], np.float32),
        "grad_rms": found.grad_rms.astype(np.float32),
        "kept_elements": found.kept_elements,
        "infer_logits": tiny_numpy.infer(state, inputs["images"]),
        "updated/first.weight": found.state["first.weight"].astype(np.float32),
        "tolerance": np.array(1e-4),
    }
    return {**inputs, **outputs}


def random_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


def folder_digest(folder: Path) -> str:
    """Changes when any file below the folder does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()
