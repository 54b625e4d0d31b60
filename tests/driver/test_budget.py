"""Kept bytes, the predicted peak, and ratios that fit a budget."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.driver import tiny_bundle
from toolchain.driver.budget import Work, fit_ratios, probe_work, require_fit
from toolchain.driver.bytesize import format_bytes, parse_bytes
from toolchain.driver.manifest import Layer, Manifest, Saved, Store
from toolchain.driver.needs import kept_bytes, kept_elements, places_bytes, step_bytes
from toolchain.driver.structure import decode
from toolchain.errors import UsageError

TINY = decode(Manifest, {**tiny_bundle.manifest(), "files": {}})


def with_layers(elements: "list[int]", mask_bytes: int) -> Manifest:
    layers = tuple(Layer(f"layer{i}", "conv", n) for i, n in enumerate(elements))
    stores = tuple(Store((number,)) for number in range(len(elements)))
    step = replace(TINY.step, stores=stores, saved=(Saved("masks", "mask", mask_bytes, 3),))
    return replace(TINY, layers=layers, step=step)


def test_kept_bytes_by_hand() -> None:
    # k = ⌊192 · 0.5⌋, ⌊64 · 0.75⌋; bitmaps 24 + 8; mask 2 a sample.
    kept = kept_elements(np.array([192, 64]), np.array([0.5, 0.25], np.float32)).tolist()
    assert kept == [96, 48]
    assert kept_bytes(TINY, TINY.step, 4, kept) == 4 * (96 + 48) + 24 + 8 + 8


def test_kept_elements_follow_the_float32_ratio() -> None:
    # float32(0.9) = 0.89999998, so a tenth of ten elements is one and a bit; float64 arithmetic on 0.9 would give none.
    assert kept_elements(np.array([10]), np.array([0.9], np.float32)).tolist() == [1]


def test_layers_that_share_an_activation_are_counted_as_they_are_stored() -> None:
    manifest = with_layers([100, 100], 0)
    kept = [10, 30]

    def total(*stores: Store) -> int:
        return kept_bytes(manifest, replace(manifest.step, stores=stores), 1, kept) - 3

    assert total(Store((0,)), Store((1,))) == 4 * 40 + 2 * 13
    assert total(Store((0, 1))) == 4 * 30 + 13
    assert total(Store((0, 1), union=True)) == 4 * 40 + 13


def test_halves_and_compact_places_take_less() -> None:
    manifest = with_layers([800], 0)
    halved = replace(manifest.step, value_bytes=2, compact_places=True)
    assert kept_bytes(manifest, manifest.step, 1, [80]) == 4 * 80 + 100 + 3
    assert kept_bytes(manifest, halved, 1, [80]) == 2 * 80 + 25 + 40 + 3
    # Where three in sixteen are kept or more, a bit an element is shorter.
    assert [places_bytes(800, kept, True) for kept in (149, 150, 800)] == [25 + 75, 100, 100]


@given(
    data=st.data(),
    elements=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    mask_bytes=st.integers(0, 100),
    batch=st.integers(1, 16),
    share=st.floats(0, 1.2),
)
def test_fitted_ratios_use_the_budget_and_no_more(
    data: st.DataObject, elements: "list[int]", mask_bytes: int, batch: int, share: float
) -> None:
    manifest = with_layers(elements, mask_bytes)
    work = Work(manifest, manifest.step, batch)
    ratio = st.floats(0, 1, width=32)
    ratios = np.array(data.draw(st.lists(ratio, min_size=len(elements), max_size=len(elements))), np.float32)
    least, wanted = work.least.bytes, work.need(ratios).bytes
    budget = least + int(share * (wanted - least))
    fitted = fit_ratios(work, ratios, budget)
    assert step_bytes(manifest, manifest.step, batch, fitted) <= work.need(fitted).bytes <= budget
    assert fitted.dtype == np.float32 and (fitted >= ratios).all() and (fitted <= 1).all()
    if wanted <= budget:
        assert (fitted == ratios).all()


def test_fitted_share_is_the_largest() -> None:
    ratios, budget, work = np.array([0.5, 0.25], np.float32), 400, Work(TINY, TINY.step, 4)
    fitted = fit_ratios(work, ratios, budget)
    share = (1 - fitted.astype(np.float64)) / (1 - ratios.astype(np.float64))
    assert share[0] == pytest.approx(share[1], rel=1e-6)
    more = (1 - (share + 1e-6) * (1 - ratios.astype(np.float64))).astype(np.float32)
    assert work.need(more).bytes > budget


def test_impossible_budget_names_the_numbers_and_the_batch_that_fits() -> None:
    # Bitmaps and mask alone: 8 + 2 a sample, so three images fit into 39 bytes and four do not.
    work = Work(TINY, TINY.step, 4)
    with pytest.raises(
        UsageError, match=r"4 images needs at least 40 bytes.*budget is 39.*largest batch that fits is 3"
    ):
        fit_ratios(work, np.zeros(2, np.float32), 39)
    with pytest.raises(UsageError, match="not even one image fits"):
        require_fit(work, 9)
    require_fit(work, 40)


def test_a_probe_needs_its_images_and_what_it_computes_in_vain() -> None:
    step, probe = Work(TINY, TINY.step, 2), probe_work(TINY, TINY.step, 2)
    images = 4 * 2 * 3 * TINY.model.image_size**2
    assert probe.least.bytes - step.least.bytes > images


@pytest.mark.parametrize(
    ("text", "amount"),
    [("96MiB", 96 << 20), ("1.5GB", 1_500_000_000), ("4096", 4096), ("2 kib", 2048), ("7B", 7), ("1G", 10**9)],
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "lots", "-5", "0", "0.2", "1e6", "12XB", "MiB", "nan", "٣"])
def test_wrong_amounts_of_memory(text: str) -> None:
    with pytest.raises(UsageError, match="96MiB"):
        parse_bytes(text)


def test_amounts_for_people() -> None:
    assert [format_bytes(n) for n in (12, 2048, 96 << 20, 3 << 30)] == ["12 B", "2.0 KiB", "96.0 MiB", "3.0 GiB"]
