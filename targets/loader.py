"""Reads a board's TOML file."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Fact:
    """A value with its unit in the key, and where it is from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Target:
    """A board. platform: of native code, as Python names it; inference_opset: the newest its TensorRT parses."""

    name: str
    title: str
    platform: str
    python: str
    onnxruntime: str
    inference_opset: int
    facts: Mapping[str, Fact]

    def as_json(self) -> dict[str, Any]:
        facts = {key: {"value": fact.value, "source": fact.source} for key, fact in self.facts.items()}
        needed = {
            "platform": self.platform,
            "python": self.python,
            "onnxruntime": self.onnxruntime,
            "inference_opset": self.inference_opset,
        }
        return {"name": self.name, "title": self.title, **needed, "facts": facts}


def target_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_target(name: str) -> Target:
    """Raises LookupError for a name without a file."""
    if name not in target_names():
        raise LookupError(f"unknown target {name!r}: choose one of {', '.join(target_names())}")
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    facts = {key: Fact(entry["value"], entry["source"]) for key, entry in content["facts"].items()}
    return Target(name=name, facts=facts, **content["target"])
