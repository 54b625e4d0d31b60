"""The eager SURGEON keeps what its authors' code keeps: int32 places, clones, and the probe's graph."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from toolchain.measurement import released_surgeon
from toolchain.measurement.released_surgeon import Kept, ReleasedForward
from toolchain.measurement.surgeon import SurgeonStep, released_ratios
from toolchain.models.cifar_resnet import resnet20
from toolchain.reference.objective import entropy

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def module() -> nn.Module:
    """Only weights train, as in the authors' code."""
    torch.manual_seed(0)
    model = resnet20().train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("weight"))
    return model


def logits_of(module: nn.Module, ratio: float) -> Tensor:
    ratios = {id(weight): ratio for weight in module.parameters()}
    with ReleasedForward(ratios):
        logits: Tensor = module(IMAGES)
    return logits


def gradients(module: nn.Module, logits: Tensor) -> list[Tensor]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(entropy(logits), trained))


def nodes(logits: Tensor) -> Iterator[Any]:
    """All of the graph, each once."""
    stack: list[Any] = [logits.grad_fn]
    known = set(stack)
    while stack:
        node = stack.pop()
        yield node
        found = {other for other, _ in node.next_functions if other is not None} - known
        known |= found
        stack.extend(found)


def kept_bytes(logits: Tensor) -> int:
    """Of values, places and clones."""
    tensors = [tensor for node in nodes(logits) if hasattr(node, "kept") for tensor in node.kept[:2]]
    tensors += [node.clone for node in nodes(logits) if hasattr(node, "clone")]
    return sum(tensor.nbytes for tensor in tensors)


def saved_bytes(module: nn.Module, ratio: float | None) -> int:
    """Bytes of distinct tensors that wait for the backward pass, by autograd itself (parameters not) and by us."""
    parameters = {parameter.data_ptr() for parameter in module.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = module(IMAGES) if ratio is None else logits_of(module, ratio)
    return sum(saved.values()) + kept_bytes(logits)


def test_nothing_pruned_gives_the_gradients_of_autograd(module: nn.Module) -> None:
    exact = gradients(module, module(IMAGES))
    for found, expected in zip(gradients(module, logits_of(module, 0.0)), exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_pruning_changes_them(module: nn.Module) -> None:
    exact = gradients(module, module(IMAGES))
    pruned = gradients(module, logits_of(module, 0.9))
    assert not torch.allclose(exact[0], pruned[0], rtol=1e-2)


def test_every_value_has_an_int32_place_beside_it(module: nn.Module) -> None:
    logits = logits_of(module, 0.75)
    kept = [node.kept for node in nodes(logits) if hasattr(node, "kept")]
    assert len(kept) == sum(isinstance(found, nn.Conv2d | nn.BatchNorm2d | nn.Linear) for found in module.modules())
    for one in kept:
        assert one.places.dtype == torch.int32
        assert one.values.numel() == one.places.numel() == one.shape.numel() // 4


def test_batchnorm_keeps_a_clone_of_its_whole_input(module: nn.Module) -> None:
    clones = [node for node in nodes(logits_of(module, 1.0)) if hasattr(node, "clone")]
    assert len(clones) == sum(isinstance(found, nn.BatchNorm2d) for found in module.modules())
    assert all(node.clone.numel() == node.kept.shape.numel() for node in clones)


@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_it_keeps_more_than_plain_fine_tuning(module: nn.Module, ratio: float) -> None:
    assert saved_bytes(module, ratio) > saved_bytes(module, None)


def test_without_its_clones_it_would_keep_less(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure tells what is kept from what is not."""
    logits = logits_of(module, 0.9)
    clones = sum(node.clone.nbytes for node in nodes(logits) if hasattr(node, "clone"))
    assert 0 < kept_bytes(logits) - clones < clones
    assert saved_bytes(module, 0.9) - clones < saved_bytes(module, None)


def test_frozen_layers_keep_nothing() -> None:
    frozen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)).requires_grad_(False)
    with ReleasedForward({}) as forward:
        logits = frozen(IMAGES.clone().requires_grad_())
    assert forward.sizes == []
    assert kept_bytes(logits) == 0


def test_ratios_follow_gradient_and_size(module: nn.Module) -> None:
    with ReleasedForward({}) as probe:
        logits = module(IMAGES)
    entropy(logits).backward()
    ratios = released_ratios(probe)
    assert len(ratios) == len(probe.sizes)
    assert min(ratios.values()) == 0
    assert max(ratios.values()) < 1


class Watch:
    """Which values of earlier forward passes still live, at the first layer of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
        self.values: list[weakref.ref[Tensor]] = []
        self.alive: list[int] = []
        self.layers = layers
        monkeypatch.setattr(released_surgeon.Kept, "of", classmethod(self._of(Kept.of)))

    def _of(self, original: Any) -> Any:
        def watched(cls: type[Kept], x: Tensor, ratio: float) -> Kept:
            if len(self.values) % self.layers == 0:
                self.alive.append(self.living())
            kept: Kept = original(x, ratio)
            self.values.append(weakref.ref(kept.values))
            return kept

        return watched

    def living(self) -> int:
        gc.collect()
        return sum(reference() is not None for reference in self.values)


@pytest.mark.parametrize("ratio", [None, 0.9])
def test_the_graph_of_the_probe_lives_into_the_step(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch, ratio: float | None
) -> None:
    layers = sum(isinstance(found, nn.Conv2d | nn.BatchNorm2d | nn.Linear) for found in module.modules())
    watch = Watch(monkeypatch, layers)
    SurgeonStep(module, IMAGES, ratio)()
    assert watch.alive == ([0, layers] if ratio is None else [0])
    assert watch.living() == 0
