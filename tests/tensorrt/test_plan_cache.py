"""When an engine is built, and when it is found again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver.tiny_bundle import random_images
from toolchain.driver.bundle import Bundle
from toolchain.driver.engine.cache import PlanCache, user_cache
from toolchain.driver.inference import InferenceModel
from toolchain.driver.predictor import Choice, Predictor, open_predictor


def opened(bundle: Path, folder: Path) -> Predictor:
    return open_predictor(InferenceModel(Bundle(bundle)), None, Choice("tensorrt", "libcudart", 1, folder))


def plans(folder: Path) -> list[Path]:
    return sorted((folder / "engine").glob("plan-*.bin"))


def test_engine_is_built_once(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    tensorrt = stand_in()
    opened(shipped, tmp_path)
    opened(shipped, tmp_path)
    assert len(tensorrt.builds) == 1 and len(plans(tmp_path)) == 1


def test_another_tensorrt_or_device_builds_another(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    stand_in("8.5.2")
    opened(shipped, tmp_path)
    first = plans(tmp_path)
    tensorrt = stand_in("10.3.0")
    opened(shipped, tmp_path)
    assert len(tensorrt.builds) == 1
    assert len(plans(tmp_path)) == 1 and plans(tmp_path) != first, "the old one is dropped"


@pytest.mark.parametrize("damage", [b"", b"torn", None], ids=["empty", "torn", "foreign"])
def test_damaged_engine_is_built_again(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path, damage: bytes | None
) -> None:
    tensorrt = stand_in()
    logits = opened(shipped, tmp_path).predict(random_images(2))
    (plan,) = plans(tmp_path)
    if damage is None:
        key = plan.name
        cache = PlanCache(tmp_path / "engine")
        cache.save("plan-fp32", {}, b"whole, and of no TensorRT")
        plans(tmp_path)[0].rename(plan.with_name(key))
    else:
        plan.write_bytes(damage)
    np.testing.assert_array_equal(opened(shipped, tmp_path).predict(random_images(2)), logits)
    assert len(tensorrt.builds) == 2


def test_timings_of_an_earlier_build_are_used(stand_in: Callable[..., Any], shipped: Path, tmp_path: Path) -> None:
    stand_in()
    opened(shipped, tmp_path)
    plans(tmp_path)[0].unlink()
    opened(shipped, tmp_path)
    (timings,) = (tmp_path / "engine").glob("timings-*.bin")
    assert timings.read_bytes()[32:] == b"8.5.2 measured measured "


def test_where_nothing_can_be_written_the_users_cache_serves(
    stand_in: Callable[..., Any], shipped: Path, tmp_path: Path
) -> None:
    tensorrt = stand_in()
    blocked = tmp_path / "tiny-state"
    blocked.write_text("a file, not a folder")
    opened(shipped, blocked)
    opened(shipped, blocked)
    assert len(tensorrt.builds) == 1
    assert list((tmp_path / "cache/toolchain/tiny-state").glob("plan-*.bin"))


def test_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/users/someone")
    assert user_cache("tiny") == Path("/users/someone/.cache/toolchain/tiny")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert user_cache("tiny") is None


def test_without_any_folder_nothing_is_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = PlanCache(blocked / "below")
    cache.save("plan", {"model": 1}, b"content")
    assert cache.load("plan", {"model": 1}) is None
