"""What a user may choose about a method beside its name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from toolchain.errors import UsageError
from toolchain.methods import eata
from toolchain.methods.declaration import SETTINGS, Controller, Method, Selection, TwoViews
from toolchain.values import require_number

CONTROLLERS: tuple[Controller, ...] = get_args(Controller)
STABLE_SAMPLES = Selection(share=0.4, weighted=True)
CONSISTENCY = TwoViews(consistency=0.01)


@dataclass(frozen=True)
class Choices:
    """train: what trains; None: the method's usual choice. prune: the controller; None: the method's own.

    selection, consistency: SURGEON's certainty-based sample selection and consistency regularisation (Ma et al., CVPR
    2025, section 3.4); the selection of mecta is EATA's, as its authors combine the two. source_samples: as how many
    images the source's BatchNorm statistics count beside a batch's. setting: the data set whose numbers hold; None:
    CIFAR-10. probe_ratio: how much of SURGEON's probe is pruned; None: the method's own.
    """

    train: str | None = None
    prune: str | None = None
    selection: bool = False
    consistency: bool = False
    source_samples: int | None = None
    setting: str | None = None
    probe_ratio: float | None = None

    def fits(self, method: Method) -> bool:
        """Whether its numbers are those of the setting."""
        return (self.setting or SETTINGS[0]) in method.settings

    def applied_to(self, method: Method) -> Method:
        """Raises UsageError for what does not go with the method."""
        wanted: list[tuple[object, Callable[[Method], Method]]] = [
            (self.prune is not None, self._pruned),
            (self.selection, self._selecting),
            (self.consistency, self._consistent),
            (self.source_samples is not None, self._mixing),
            (self.probe_ratio is not None, self._probing),
        ]
        for wants, change in wanted:
            method = change(method) if wants else method
        return method

    def _pruned(self, method: Method) -> Method:
        if method.optimizer is None:
            raise UsageError(f"--prune: method {method.name} trains nothing, so nothing waits to be pruned")
        if method.mecta is not None:
            raise UsageError(f"--prune: method {method.name} itself decides what its layers keep")
        for controller in CONTROLLERS:
            if controller == self.prune:
                return replace(method, controller=controller)
        raise UsageError(f"--prune {self.prune!r} is unknown: choose {', '.join(CONTROLLERS)}")

    def _selecting(self, method: Method) -> Method:
        if method.optimizer is None or method.selection is not None or _has_own_loss(method):
            raise UsageError(
                f"--selection: method {method.name} has a loss of its own: use it with full, tent, mecta or surgeon"
            )
        filters = next(declared.selection for declared in eata.BN if self.fits(declared))
        return replace(method, selection=STABLE_SAMPLES if method.mecta is None else filters)

    def _consistent(self, method: Method) -> Method:
        taken = method.anchor is not None or method.mecta is not None
        if method.optimizer is None or taken or _has_own_loss(method):
            raise UsageError(
                f"--consistency: method {method.name} has a loss of its own: use it with full, tent or surgeon"
            )
        return replace(method, loss=("entropy", "targets", "log_targets"), beside=CONSISTENCY, update="driver")

    def _mixing(self, method: Method) -> Method:
        if method.statistics != "batch" or method.mecta is not None:
            why = "has statistics of its own: use it with a method that takes those of the batch, as bn or tent"
            raise UsageError(f"--source-samples: method {method.name} {why}")
        return replace(method, source_samples=self.source_samples or 0)

    def _probing(self, method: Method) -> Method:
        if method.controller != "surgeon":
            raise UsageError(
                f"--probe-ratio: method {method.name} has no probe: use it with surgeon or --prune surgeon"
            )
        require_number("--probe-ratio", self.probe_ratio, most=1)
        return replace(method, probe=replace(method.probe, prune_ratio=self.probe_ratio or 0.0))


def _has_own_loss(method: Method) -> bool:
    return method.beside is not None or method.meta_networks is not None
