"""Every order shows each image as often as it should, and starts anew where it should."""

from collections import Counter

import numpy as np

from toolchain.driver.manifest import Preprocessing
from toolchain.evaluation.data.domain import Domain, Numbers
from toolchain.evaluation.orders import Batch, Plan, plan

COUNT, BATCH = 5, 2
NAMES = ("fog", "frost", "snow")
AS_IT_IS = Preprocessing(None, "bilinear", 1, 255.0, (0.0,) * 3, (1.0,) * 3)


def domain(corruption: str, severity: int) -> Domain:
    """One pixel an image, which tells the domain and the image."""

    def read(numbers: Numbers) -> np.ndarray:
        pixel = 50 * NAMES.index(corruption) + 10 * severity + numbers
        return np.broadcast_to(pixel[:, None, None, None], (len(numbers), 1, 1, 3)).astype(np.uint8)

    return Domain(corruption, severity, np.arange(COUNT) + NAMES.index(corruption), read)


def make(order: str, rounds: int = 1, severity: int = 3) -> Plan:
    return plan(order, domain, NAMES, severity, rounds, BATCH, seed=0)


def shown(made: Plan) -> list[tuple[str, int]]:
    return [(visit.domain.corruption, visit.domain.severity) for visit in made.visits]


def pairs(batches: list[Batch]) -> list[tuple[int, int]]:
    return [(int(v), int(i)) for batch in batches for v, i in zip(batch.visits, batch.images, strict=True)]


def test_continual_is_one_stream_through_all_rounds() -> None:
    made = make("continual", rounds=2)
    assert [visit.round for visit in made.visits] == [1, 1, 1, 2, 2, 2]
    (stream,) = made.streams
    assert pairs(list(stream)) == [(visit, image) for visit in range(6) for image in range(COUNT)]
    assert [len(batch.images) for batch in stream] == [2, 2, 1] * 6, "no batch holds two corruptions"


def test_reset_is_a_stream_for_each_corruption() -> None:
    made = make("reset")
    assert [pairs(list(stream)) for stream in made.streams] == [
        [(visit, image) for image in range(COUNT)] for visit in range(3)
    ]


def test_gradual_goes_up_and_down() -> None:
    assert shown(make("gradual"))[:6] == [("fog", 1), ("fog", 2), ("fog", 3), ("fog", 2), ("fog", 1), ("frost", 1)]
    assert shown(make("gradual", severity=1)) == [(name, 1) for name in NAMES]
    assert len(make("gradual").streams) == 1


def test_mixed_shows_every_image_once_a_round_in_another_order() -> None:
    made = make("mixed", rounds=2)
    (stream,) = made.streams
    found = pairs(list(stream))
    assert Counter(found) == Counter((visit, image) for visit in range(6) for image in range(COUNT))
    assert {visit for visit, _ in found[: 3 * COUNT]} == {0, 1, 2}, "round after round"
    first, second = found[: 3 * COUNT], [(visit - 3, image) for visit, image in found[3 * COUNT :]]
    assert first != sorted(first) and first != second
    assert any(len(set(batch.visits)) == 2 for batch in stream)


def test_pixels_and_labels_belong_together() -> None:
    made = make("mixed")
    for batch in made.streams[0]:
        pixels, labels = made.pixels(batch, AS_IT_IS), made.labels(batch)
        assert pixels.shape == (len(batch.images), 3, 1, 1) and pixels.dtype == np.float32
        assert pixels[:, 0, 0, 0].tolist() == [50 * v + 30 + i for v, i in zip(batch.visits, batch.images, strict=True)]
        assert labels.tolist() == [v + i for v, i in zip(batch.visits, batch.images, strict=True)]
