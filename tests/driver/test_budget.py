"""Kept bytes, the predicted peak, and ratios that fit a budget."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.driver import tiny_bundle
from toolchain.driver.budget import Work, fit_ratios, probe_work, require_fit
from toolchain.driver.bytesize import format_bytes, parse_bytes
from toolchain.driver.manifest import Condition, Layer, Manifest, Moment, Saved, Store
from toolchain.driver.needs import kept_bytes, kept_elements, places_bytes, predict_peak, step_bytes
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
    halved = replace(manifest.step, value_bits=16, compact_places=True)
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


def with_moments(*moments: Moment) -> Manifest:
    """Of the stores the first is in memory at every moment and the second from the second one on."""
    stores = (Store((0,), span=(0, len(moments))), Store((1,), span=(min(1, len(moments)), len(moments))))
    return replace(TINY, step=replace(TINY.step, stores=stores, moments=moments))


def test_peak_is_the_highest_moment_that_counts() -> None:
    # 48 and 16 elements a sample; at ratio 0.5 and batch 2 the layers keep 48 and 16.
    sorting = Moment("second", True, 9000, 9000, 0, condition=Condition(1, 0.6))
    manifest = with_moments(
        Moment("first", False, 1000, 1000, 100, ((1, 2),)), Moment("first", True, 100, 800, 300), sorting
    )
    halves, ratios = np.full(2, 0.5, np.float32), np.array([0.5, 0.3], np.float32)
    assert predict_peak(manifest, manifest.step, 2, halves).bytes == 1000 + 200 + 4 * 48 + 2 * 16
    assert predict_peak(manifest, manifest.step, 8, halves).bytes == 800 + 2400 + 4 * 192 + 4 * 64
    peak = predict_peak(manifest, manifest.step, 2, ratios)
    assert peak.moment == sorting, "where three fifths are kept it counts"
    assert predict_peak(TINY, TINY.step, 8, halves).moment is None, "without a table nothing is predicted"


def test_ratios_fit_the_peak_as_well_as_what_is_kept() -> None:
    manifest = with_moments(Moment("first", True, 1000, 1000, 50))
    work = Work(manifest, manifest.step, 2)
    fitted = fit_ratios(work, np.zeros(2, np.float32), 1300)
    assert 1290 <= predict_peak(manifest, manifest.step, 2, fitted).bytes <= 1300
    assert step_bytes(manifest, manifest.step, 2, fitted) < 300


def test_refusal_says_where_the_peak_is_and_what_the_forward_pass_needs() -> None:
    work = Work(with_moments(Moment("one", False, 0, 0, 5000), Moment("two", True, 0, 0, 6000)), TINY.step, 4)
    work = work._replace(step=work.manifest.step)
    with pytest.raises(
        UsageError, match=r"at least 24000 bytes .* \(in the backward pass, at layer two\), the budget is 22"
    ):
        require_fit(work, 22_000)
    with pytest.raises(
        UsageError, match=r"layer two; the forward pass alone 20000 bytes .*, at layer one\), .* fits is 3;"
    ):
        require_fit(work, 19_000)
    alone = with_moments(Moment("one", False, 0, 0, 5000))
    with pytest.raises(UsageError, match=r"\(in the forward pass, at layer one\)"):
        require_fit(Work(alone, alone.step, 4), 19_000)


def test_refusal_estimates_the_image_size_by_its_area() -> None:
    manifest = with_moments(Moment("one", False, 100, 100, 6400))
    manifest = replace(manifest, model=replace(manifest.model, image_size=64))
    with pytest.raises(UsageError, match=r"not even one image fits, one of about 32 x 32 pixels would \(an estimate\)"):
        require_fit(Work(manifest, manifest.step, 4), 1700)
    with pytest.raises(UsageError, match="not even one image fits, of any size: raise the budget"):
        require_fit(Work(manifest, manifest.step, 4), 99)


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
