"""Which elements are kept, against a sort of pairs (magnitude, position)."""

import pytest
import torch
from torch import Tensor

from toolchain.reference.pruning import keep_largest, kept_count


def sorted_by_hand(x: Tensor, count: int) -> Tensor:
    values = x.flatten().tolist()
    kept = set(sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:count])
    return torch.tensor([v if i in kept else 0.0 for i, v in enumerate(values)], dtype=x.dtype).view(x.shape)


@pytest.mark.parametrize("count", [0, 1, 7, 59, 60])
def test_keeps_the_largest(count: int) -> None:
    x = torch.randn(3, 4, 5, generator=torch.manual_seed(count))
    assert torch.equal(keep_largest(x, count), sorted_by_hand(x, count))


@pytest.mark.parametrize("count", range(13))
def test_among_equals_the_first_in_row_major_order_stay(count: int) -> None:
    x = torch.tensor([[1.0, -2.0, 2.0, 0.0], [2.0, 1.0, -1.0, -2.0], [0.0, 0.0, 3.0, 1.0]])
    assert torch.equal(keep_largest(x, count), sorted_by_hand(x, count))


def test_row_major_order_is_that_of_the_shape_not_of_the_memory() -> None:
    x = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)
    assert torch.equal(keep_largest(x, 5), sorted_by_hand(x, 5))
    assert torch.equal(keep_largest(x[0].mT, 5), sorted_by_hand(x[0].mT, 5))


def test_result_is_a_copy() -> None:
    x = torch.ones(3)
    keep_largest(x, 3).zero_()
    assert x.sum() == 3


@pytest.mark.parametrize(
    ("ratio", "exact", "float32"),
    [(0.8, 20, 19), (0.7, 30, 30), (0.9, 10, 10), (0.1, 90, 89), (0.0, 100, 100), (1.0, 0, 0)],
)
def test_count_is_of_the_unrounded_float32_ratio(ratio: float, exact: int, float32: int) -> None:
    """float32(0.8) lies above 0.8 and float32(0.7), float32(0.9) below: the first loses an element."""
    assert kept_count(100, torch.tensor(ratio).item()) == float32
    assert float32 in (exact, exact - 1)
