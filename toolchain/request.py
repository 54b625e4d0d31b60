"""What a build is asked for, and what it reports."""

from dataclasses import dataclass, field
from pathlib import Path

from toolchain.errors import UsageError
from toolchain.methods import Choices, find_method
from toolchain.values import require_count

TRAINING_STOPS = ("differentiate", "rewrite", "lower", "fuse")
STOPS = ("trace", "export", *TRAINING_STOPS)
"""The stages that a build can stop after: those that make graphs."""

VALUES = ("fp32", "fp16")


@dataclass(frozen=True)
class Request:
    """What to build. weights: see load_model. train … probe_ratio: see Choices; without a setting, the model's nearest.
    source: images that the model was trained on, where the method needs some. values: the precision of what is kept,
    one of VALUES. output: the bundle's folder. stop_after: one of STOPS."""

    model: str
    target: str
    method: str = "surgeon"
    train: str | None = None
    prune: str | None = None
    selection: bool = False
    consistency: bool = False
    source_samples: int | None = None
    setting: str | None = None
    probe_ratio: float | None = None
    source: Path | None = None
    weights: str | None = None
    image_size: int | None = None
    batch: int = 8
    memory_budget: int | None = None
    values: str = "fp32"
    output: Path | None = None
    stop_after: str | None = None

    @property
    def choices(self) -> Choices:
        return Choices(**{name: getattr(self, name) for name in Choices.__dataclass_fields__})

    @property
    def folder(self) -> Path:
        name = f"{self.model}-{self.target}".replace(":", "-").replace("/", "-")
        return self.output if self.output is not None else Path(name)


@dataclass
class Report:
    """Where the result is, and how many seconds each stage took."""

    folder: Path
    stages: list[tuple[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.stages)

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def check(request: Request) -> None:
    """Raises UsageError for values that no build accepts."""
    for name, least in (("batch", 1), ("image_size", 1), ("source_samples", 0), ("memory_budget", 1)):
        require_count(f"--{name.replace('_', '-')}", getattr(request, name), least)
    if request.values not in VALUES:
        raise UsageError(f"--values {request.values!r} is no precision: choose {' or '.join(VALUES)}")
    if request.stop_after not in (None, *STOPS):
        raise UsageError(f"--stop-after {request.stop_after!r} is no stage: choose one of {', '.join(STOPS)}")
    method = find_method(request.method, request.choices)
    if request.values == "fp16" and method.mecta is not None:
        raise UsageError(f"--values fp16: method {method.name} keeps channels as they are")
    if request.stop_after in TRAINING_STOPS and method.optimizer is None:
        raise UsageError(f"--stop-after {request.stop_after}: method {request.method} trains nothing, choose trace")
