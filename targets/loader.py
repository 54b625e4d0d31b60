"""Reads a board's TOML file, and what the parser of its TensorRT takes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
PARSERS = FOLDER / "tensorrt" / "parsers.toml"
DECISIVE = ("platform", "python", "onnxruntime", "tensorrt", "inference_opset", "precision")
"""The facts that a bundle is built by, and that its manifest repeats."""


@dataclass(frozen=True)
class Fact:
    """A value with its unit in the key, and where it is from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Target:
    """A board, as its facts describe it. notes: what a user has to know before anything else."""

    name: str
    title: str
    facts: Mapping[str, Fact]
    notes: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """Of native code, as Python names it."""
        return str(self.facts["platform"].value)

    @property
    def inference_opset(self) -> int:
        """The newest that its inference engine reads."""
        return int(self.facts["inference_opset"].value)

    @property
    def precision(self) -> str:
        """In which its inference engine computes: fp32 or fp16."""
        return str(self.facts["precision"].value)

    @property
    def tensorrt(self) -> str | None:
        """The version of TensorRT that a bundle can use there; None: it infers with ONNX Runtime."""
        return self.facts["tensorrt"].value if "tensorrt" in self.facts else None

    @property
    def operators(self) -> frozenset[str] | None:
        """What its TensorRT's parser takes; None: there is none, and ONNX Runtime takes every operator."""
        return None if self.tensorrt is None else parsed_operators(self.tensorrt)

    def number(self, key: str) -> float | None:
        """The value of a fact, in the unit of its key; None if it is not known."""
        return float(self.facts[key].value) if key in self.facts else None

    def as_json(self) -> dict[str, Any]:
        facts = {key: {"value": fact.value, "source": fact.source} for key, fact in self.facts.items()}
        decisive = {key: self.facts[key].value if key in self.facts else None for key in DECISIVE}
        return {"name": self.name, "title": self.title, "notes": list(self.notes), **decisive, "facts": facts}


def target_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_target(name: str) -> Target:
    """Raises LookupError for a name without a file."""
    if name not in target_names():
        raise LookupError(f"unknown target {name!r}: choose one of {', '.join(target_names())}")
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    facts = {key: Fact(entry["value"], entry["source"]) for key, entry in content["facts"].items()}
    return Target(name, content["title"], facts, tuple(content.get("notes", ())))


@cache
def parsed_operators(version: str) -> frozenset[str]:
    """The standard operators that the parser of this TensorRT takes.

    Raises LookupError for one older than all that are known.
    """
    parsers = tomllib.loads(PARSERS.read_text(encoding="utf-8"))
    older = [parser for known, parser in parsers.items() if _numbers(known) <= _numbers(version)]
    if not older:
        raise LookupError(f"nothing is known of TensorRT {version}: the oldest known is {min(parsers, key=_numbers)}")
    return frozenset(operator for parser in older for operator in parser["operators"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
