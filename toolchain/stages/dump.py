"""The graphs of a stage, for who wants to look at them or to find the stage that broke one."""

from dataclasses import fields
from pathlib import Path

import onnx
import onnx_ir as ir


def dump(artifact: object, folder: Path) -> None:
    """Writes every graph that the artifact of a stage holds to `folder`/FIELD.onnx."""
    for place in fields(artifact) if hasattr(artifact, "__dataclass_fields__") else ():  # type: ignore[arg-type]
        value = getattr(artifact, place.name)
        if isinstance(value, ir.Model):
            ir.save(value, folder / f"{place.name}.onnx")
        elif isinstance(value, onnx.ModelProto):
            onnx.save(value, folder / f"{place.name}.onnx")
