"""Reading a checkpoint, and fitting it to a module with a message when it does not fit."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from toolchain.errors import ModelError

NORMALISATION = ("mu", "sigma", "normalize.mean", "normalize.std")
"""Buffers by which RobustBench's models normalise their images; ours know their preprocessing without them."""


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file or of a torch checkpoint (read with weights_only=True)."""
    if not path.is_file():
        raise ModelError(f"no weights file at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except ModelError:
        raise
    except Exception as error:  # a file that is no pickle makes the unpickler fail in any way
        raise ModelError(f"{path} is neither a safetensors file nor a torch checkpoint: {error}") from error
    named = {name.removeprefix("module."): value for name, value in content.items()}
    return {name: value for name, value in named.items() if name not in NORMALISATION}


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model_state", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise ModelError(f"{path} holds no state dict of tensors: save one with torch.save(model.state_dict(), ...)")
    return content


def fit(module: nn.Module, tensors: dict[str, torch.Tensor], origin: str) -> None:
    """Loads `tensors` into `module`; raises ModelError that names every tensor that does not fit."""
    wanted = {n: v for n, v in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    found = {n: v for n, v in tensors.items() if not n.endswith("num_batches_tracked")}
    complaints = [
        f"{name} has shape {tuple(found[name].shape)}, the model needs {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & found.keys())
        if found[name].shape != wanted[name].shape
    ]
    complaints += [f"{name} is not a tensor of the model" for name in sorted(found.keys() - wanted.keys())]
    complaints += [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    if complaints:
        listed = "\n  ".join(complaints[:8])
        raise ModelError(f"the weights in {origin} do not fit the model ({len(complaints)} tensors):\n  {listed}")
    module.load_state_dict(found, strict=False)
