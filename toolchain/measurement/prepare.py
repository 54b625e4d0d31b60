"""What the peers of a bundle need: the same model, not yet rewritten."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

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
    """Writes the dense training artifacts and the eager module of `bundle` to `folder`."""
    case = Case.load(bundle, samples=1, count=1)
    facts = case.manifest.model
    model = load_model(facts.name, "none", facts.image_size)
    model.module.load_state_dict(case.module.state_dict())
    differentiate(trace(model), case.method, folder)
    (folder / "side").write_text(str(facts.image_size))
    torch.save({"module": case.module, "trained": case.trained, "side": facts.image_size}, folder / "eager.pt")


def read_prepared(folder: Path) -> Prepared:
    """What `prepare` wrote for the eager peers, in this run of ours."""
    return Prepared(**torch.load(folder / "eager.pt", weights_only=False))
