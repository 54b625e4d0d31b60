"""What manifest.json of a bundle says (format 4), read and written."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from toolchain.driver.structure import Mismatch, decode
from toolchain.errors import BundleError

FORMAT = 4


@dataclass(frozen=True)
class Preprocessing:
    """From decoded RGB uint8 to float32 [3, crop, crop]: resize, centre crop, scale to 0…range, (x - mean) / std.

    resize: length of the shorter side in pixels; None: the image is resized to exactly crop x crop.
    """

    resize: Optional[int]
    interpolation: str
    crop: int
    range: float
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


@dataclass(frozen=True)
class ModelFacts:
    name: str
    classes: int
    channels: int
    image_size: int
    preprocessing: Preprocessing


@dataclass(frozen=True)
class ProbeFacts:
    """Importance is measured on `samples` images of a batch, every layer pruned at `prune_ratio`."""

    samples: int
    prune_ratio: float


@dataclass(frozen=True)
class Layer:
    """A place whose saved activation is pruned."""

    name: str
    kind: str
    elements_per_sample: int
    parameter: Optional[str] = None


@dataclass(frozen=True)
class Saved:
    """Something else that waits for the backward pass: `bytes` + `bytes_per_sample` a sample.

    layer: the number of the one that kept it, if one may keep less; then that is the most.
    """

    name: str
    kind: str
    bytes_per_sample: int
    bytes: int = 0
    layer: Optional[int] = None


@dataclass(frozen=True)
class TensorFacts:
    """An input or output of a graph. shape: lengths, or "N" for the batch. updates: the input that it replaces."""

    name: str
    role: str
    dtype: str
    shape: Tuple[Union[int, str], ...]
    updates: Optional[str] = None

    @property
    def bytes(self) -> int:
        """Of a tensor that has the same shape for every batch."""
        elements = math.prod(int(length) for length in self.shape)
        return elements * {"float32": 4, "int64": 8}[self.dtype]


@dataclass(frozen=True)
class MethodFacts:
    """prune_ratio: the ratio of the static controller; None: the probe's. choices: what the user chose about it.

    procedure: the piece of the driver that runs a batch, see toolchain.driver.methods; numbers: the method's, of which
    it reads some; state: the tensors that it keeps from batch to batch, beside those that the step's graph updates.
    """

    name: str
    train: str
    controller: str
    learning_rate: float
    optimizer: str
    probe: ProbeFacts
    prune_ratio: Optional[float] = None
    choices: Dict[str, Any] = field(default_factory=dict)
    procedure: str = "step"
    numbers: Dict[str, float] = field(default_factory=dict)
    state: Tuple[TensorFacts, ...] = ()

    @property
    def setting(self) -> str:
        """The data set whose numbers hold."""
        return str(self.choices.get("setting") or "cifar10")

    @property
    def chosen(self) -> Dict[str, Any]:
        """The choices that were made beside the setting."""
        made = {name: value for name, value in self.choices.items() if value is not None and value is not False}
        return {name: value for name, value in made.items() if name != "setting"}


@dataclass(frozen=True)
class Store:
    """A stored activation: of `layers`, by number, the most that one of them keeps or, as a union, what all keep.

    span: the first of the step's moments at which it is in memory, and the one behind the last.
    """

    layers: Tuple[int, ...]
    union: bool = False
    span: Tuple[int, ...] = (0, 0)


@dataclass(frozen=True)
class Condition:
    """That so much is kept of `source` that a node needs other memory: this share of its elements or, where that is
    None, what ONNX Runtime sorts for."""

    source: int
    share: Optional[float] = None


@dataclass(frozen=True)
class Moment:
    """A point of the step at which its memory may peak: bytes, bytes_per_sample a sample, and the stores of its span.

    layer: of the model, at work then, in its forward or its backward pass. alone: instead of `bytes` for one image;
    for eight or more it is `bytes`, in between in proportion. working: pairs, a source and the bytes that a node in
    progress needs for each element that is kept of it. A source is a layer, by number, or the number of layers and a
    store's.
    """

    layer: str
    backward: bool
    alone: int
    bytes: int
    bytes_per_sample: int
    working: Tuple[Tuple[int, ...], ...] = ()
    condition: Optional[Condition] = None


@dataclass(frozen=True)
class StepFacts:
    """The graph of one adaptation step, and what waits in memory for its backward pass.

    stores: the pruned activations. value_bits: of a kept element. compact_places: whether their places are coded where
    that is shorter. saved: all else that waits. moments: in order of time. kernels: platform → library with the
    graph's own operators; empty: it has none.
    """

    file: str
    inputs: Tuple[TensorFacts, ...]
    outputs: Tuple[TensorFacts, ...]
    stores: Tuple[Store, ...]
    saved: Tuple[Saved, ...]
    moments: Tuple[Moment, ...] = ()
    value_bits: int = 32
    compact_places: bool = False
    kernels: Dict[str, str] = field(default_factory=dict)

    def input(self, role: str) -> TensorFacts:
        """The only input with this role."""
        return _only(role, [tensor for tensor in self.inputs if tensor.role == role])

    def output(self, role: str) -> TensorFacts:
        """The only output with this role."""
        return _only(role, [tensor for tensor in self.outputs if tensor.role == role])

    def inputs_of(self, *roles: str) -> List[TensorFacts]:
        return [tensor for tensor in self.inputs if tensor.role in roles]

    def outputs_of(self, *roles: str) -> List[TensorFacts]:
        return [tensor for tensor in self.outputs if tensor.role in roles]

    def updates(self) -> Dict[str, str]:
        """State output → the input that it replaces."""
        return {tensor.name: tensor.updates for tensor in self.outputs if tensor.role == "state" and tensor.updates}


@dataclass(frozen=True)
class InferFacts:
    file: str
    input: str
    output: str
    recipe: Optional[str] = None


@dataclass(frozen=True)
class FileFacts:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """step: in standard operators, which every device runs. native: with kernels for some platforms. predict: a
    forward pass alone, where the method needs it beside the step, in both forms."""

    format: int
    toolchain: str
    model: ModelFacts
    method: MethodFacts
    batch: int
    memory_budget: Optional[int]
    target: Dict[str, Any]
    layers: Tuple[Layer, ...]
    dense_saved_bytes_per_sample: int
    step: StepFacts
    native: Optional[StepFacts]
    infer: InferFacts
    reference: str
    files: Dict[str, FileFacts]
    predict: Optional[StepFacts] = None
    native_predict: Optional[StepFacts] = None

    def dense_bytes(self, batch: int) -> int:
        """Bytes that a step without pruning keeps for the backward pass."""
        return self.dense_saved_bytes_per_sample * batch


def read_manifest(path: Path) -> Manifest:
    """Read manifest.json. Raises BundleError if it is missing, malformed or of a newer format."""
    document = _parse(path)
    _check_format(path, document.get("format"))
    try:
        return decode(Manifest, document)
    except Mismatch as error:
        raise BundleError(f"{path}: {error}: build the bundle again") from error


def manifest_text(manifest: Manifest) -> str:
    """The text of manifest.json."""
    return json.dumps(dataclasses.asdict(manifest), indent=1) + "\n"


def _only(role: str, tensors: List[TensorFacts]) -> TensorFacts:
    if len(tensors) != 1:
        raise BundleError(f"manifest.json: {len(tensors)} tensors of the step have the role {role!r}, expected one")
    return tensors[0]


def _parse(path: Path) -> Dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing: {path.parent} is not a bundle, or was not copied whole") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}): copy the bundle again") from error
    return document if isinstance(document, dict) else {}


def _check_format(path: Path, found: object) -> None:
    if not isinstance(found, int):
        raise BundleError(f"{path} names no bundle format: build the bundle again")
    if found > FORMAT:
        raise BundleError(
            f"{path} has format {found}, this driver reads up to {FORMAT}: "
            "update toolchain, or rebuild the bundle with this one"
        )
