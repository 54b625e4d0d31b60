"""SURGEON's prune ratios against numbers worked out by hand."""

import torch

from toolchain.reference.controller import surgeon_ratios


def test_ratios_by_hand() -> None:
    """Shares 1/2, 1/4, 1/4: M = ln 2 · (1, 2, 2); G M = ln 2 · (2, 2, 4), largest 4 ln 2."""
    ratios = surgeon_ratios(torch.tensor([2.0, 1.0, 2.0]), torch.tensor([200, 100, 100]))
    torch.testing.assert_close(ratios, torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))


def test_scale_of_gradients_and_sizes_does_not_matter() -> None:
    gradients, elements = torch.tensor([0.3, 0.2, 0.7]), torch.tensor([30, 500, 70])
    torch.testing.assert_close(surgeon_ratios(gradients * 8, elements * 3), surgeon_ratios(gradients, elements))


def test_layer_without_gradient_is_pruned_whole() -> None:
    ratios = surgeon_ratios(torch.tensor([0.0, 1.0]), torch.tensor([10, 10]))
    assert ratios.tolist() == [1.0, 0.0]


def test_no_gradient_at_all() -> None:
    assert surgeon_ratios(torch.zeros(2), torch.tensor([10, 20])).tolist() == [1.0, 1.0]


def test_a_single_layer_is_kept_whole() -> None:
    assert surgeon_ratios(torch.tensor([0.1]), torch.tensor([10])).tolist() == [0.0]
