"""Who competes: the command that measures each contestant in a process of its own.

    bundle     the bundle as its driver runs it, on native kernels where it has them
    portable   the bundle on standard operators
    training   the bundle's step in the dialect of onnxruntime-training
    dense      onnxruntime-training without pruning
    eager      PyTorch, fine-tuning whatever the bundle trains
    tent       PyTorch, TENT: only the scale and shift of BatchNorm
    surgeon    PyTorch, SURGEON as its authors' code behaves

Each runs where it needs least memory: a C allocator that gives back at once, no arena. That takes time, so each peer
has a second entry, `dense-fast` and so on, with the settings that its runtime comes with.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.driver.bundle import Bundle
from toolchain.measurement.task import Load

FAST = "-fast"
PEERS = ("dense", "eager", "tent", "surgeon")
NAMES = ("portable", "training", *PEERS, *(peer + FAST for peer in PEERS))
"""Whatever can stand beside `bundle`."""

NATIVE_TRAINING = "ort-training/training_model_native.onnx"


@dataclass(frozen=True)
class Contestant:
    """lean: whether its C allocator gives memory back at once."""

    command: Sequence[str]
    lean: bool = True


@dataclass(frozen=True)
class Ground:
    """Where they compete. prepared: the folder that `prepare` wrote. python: what runs the bundle."""

    bundle: Path
    prepared: Path
    load: Load
    python: str = sys.executable

    def contestant(self, name: str) -> Contestant:
        """name: "bundle" or one of NAMES."""
        if name in ("bundle", "portable"):
            return Contestant(self._driver(["--operators", name] if name == "portable" else []))
        if name == "training":
            return Contestant(self._module(name, self.bundle, _native_training(self.bundle)))
        peer = name.removesuffix(FAST)
        fast = peer != name
        return Contestant(self._module(peer, self.prepared, ["--fast"] if fast else []), lean=not fast)

    def _driver(self, chosen: list[str]) -> list[str]:
        return [self.python, "-I", str(self.bundle), "bench", "--json", *self.load.arguments(), *chosen]

    def _module(self, module: str, folder: Path, chosen: list[str]) -> list[str]:
        command = [sys.executable, "-m", f"toolchain.measurement.{module}", str(folder)]
        return [*command, *self.load.arguments(), *chosen]


def needs_preparation(names: Iterable[str]) -> bool:
    return any(name.removesuffix(FAST) in PEERS for name in names)


def _native_training(path: Path) -> list[str]:
    """The arguments that name the graph on native kernels and their library, if there is one for this machine."""
    from toolchain.driver.step import PLATFORM  # loads onnxruntime

    bundle = Bundle(path)
    native = bundle.manifest.native
    library = None if native is None else native.kernels.get(PLATFORM)
    if library is None or NATIVE_TRAINING not in bundle.manifest.files:
        return []
    return ["--model", str(bundle.file(NATIVE_TRAINING)), "--kernels", str(bundle.file(library))]
