"""What the peers of a bundle need: the same model, not yet rewritten."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from toolchain.errors import UsageError
from toolchain.methods.declaration import Method
from toolchain.models.registry import load_model
from toolchain.stages.differentiate import differentiate
from toolchain.stages.trace import trace
from toolchain.verification.case import Case


@dataclass(frozen=True)
class Prepared:
    """The module, the names of the parameters that the bundle trains, and the side of its images in pixels."""

    module: nn.Module
    trained: list[str]
    side: int


def prepare(bundle: Path, folder: Path) -> None:
    """Writes the dense training artifacts and the eager module of `bundle` to `folder`.

    Peers minimise the entropy of every sample. Raises UsageError for a bundle that trains nothing.
    """
    case = Case.load(bundle, samples=1, count=1)
    if case.method.optimizer is None:
        raise UsageError(f"method {case.method.name} trains nothing: dense, eager, tent and surgeon are no peers of it")
    facts = case.manifest.model
    model = load_model(facts.name, "none", facts.image_size)
    model.module.load_state_dict(case.module.state_dict())
    differentiate(trace(model), _plain(case.method), folder)
    (folder / "side").write_text(str(facts.image_size))
    torch.save({"module": case.module, "trained": case.trained, "side": facts.image_size}, folder / "eager.pt")


def _plain(method: Method) -> Method:
    if method.selection is None and method.beside is None:
        return method
    return replace(method, loss=("entropy",), selection=None, anchor=None, beside=None, update="graph")


def read_prepared(folder: Path) -> Prepared:
    """What `prepare` wrote for the eager peers, in this run of ours."""
    return Prepared(**torch.load(folder / "eager.pt", weights_only=False))
