"""The loop of SURGEON: which gradients choose which step's prune ratios."""

import torch
from torch import Tensor, nn

from toolchain.methods.declaration import SGD, Probe
from toolchain.reference.controller import surgeon_ratios
from toolchain.reference.pruning import kept_count
from toolchain.reference.step import EagerStep
from toolchain.reference.surgeon import SurgeonReference

ELEMENTS = torch.tensor([3 * 64, 6 * 36, 6 * 36])
PROBE = Probe(samples=2, prune_ratio=0.5)


def new_step() -> EagerStep:
    torch.manual_seed(0)
    pool_and_classify = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), *pool_and_classify)
    layers = [("0", "conv"), ("1", "batchnorm"), ("2", "conv")]
    return EagerStep(model, layers, ["0.weight", "1.weight", "2.weight"], SGD(0.1))


def batches(count: int) -> Tensor:
    return torch.randn(count, 8, 3, 8, 8, generator=torch.manual_seed(1))


def counts(ratios: Tensor) -> list[int]:
    per_layer = zip(ELEMENTS.tolist(), ratios.float().tolist(), strict=True)
    return [kept_count(8 * elements, ratio) for elements, ratio in per_layer]


def test_probe_measures_the_chosen_samples_of_the_same_batch() -> None:
    step, twin, chosen = new_step(), new_step(), torch.tensor([5, 1])
    surgeon = SurgeonReference(step, ELEMENTS, PROBE)
    for images in batches(3):
        ratios = surgeon_ratios(twin.gradients(images[chosen], [0.5] * 3).grad_rms, ELEMENTS)
        expected = twin.run(images, ratios)
        result = surgeon.adapt(images, chosen)
        assert result.kept_elements.tolist() == counts(ratios)
        assert torch.equal(result.logits, expected.logits)
    torch.testing.assert_close(step.parameters(), twin.parameters(), rtol=0, atol=0)


def test_previous_starts_with_a_probe_and_then_follows_the_steps() -> None:
    surgeon = SurgeonReference(new_step(), ELEMENTS, PROBE, importance="previous")
    chosen = torch.arange(2)
    probed = new_step().gradients(batches(1)[0][chosen], [PROBE.prune_ratio] * 3).grad_rms
    first, second = (surgeon.adapt(images, chosen) for images in batches(2))
    assert first.kept_elements.tolist() == counts(surgeon_ratios(probed, ELEMENTS))
    assert second.kept_elements.tolist() == counts(surgeon_ratios(first.grad_rms, ELEMENTS))


def test_probe_without_indices_takes_a_random_choice() -> None:
    torch.manual_seed(0)
    chosen = torch.randperm(8)[:2]
    step, (images,) = new_step(), batches(1)
    torch.manual_seed(0)
    expected = counts(surgeon_ratios(step.gradients(images[chosen], [0.5] * 3).grad_rms, ELEMENTS))
    assert SurgeonReference(step, ELEMENTS, PROBE).adapt(images).kept_elements.tolist() == expected
