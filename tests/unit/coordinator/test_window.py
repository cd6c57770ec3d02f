"""How many images of a batch are in flight: enough for the fleet, and no more bytes than there is room for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.forecast.load import Capacity
from muniflow.forecast.sizes import Picture
from muniflow.forecast.stage import Stage
from muniflow.forecast.window import LEAST_IMAGES, SMALL_PIXELS, WIDEST, least_window
from muniflow.forecast.work import StageWork
from muniflow.model.operation import Size, installed_operations
from muniflow_coordinator.foresight.forecaster import TURN_S
from muniflow_coordinator.runs.window import WindowNeed, windows_of

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

PHOTO = Picture(Size(4000, 3000), "jpg")
PHOTO_BYTES = 4000 * 3000 * 3
ROUTE = [["resize", "4000x3000"], ["blur", "gaussian"]]


def need(image_s: float, image_bytes: int = 0) -> WindowNeed:
    return WindowNeed({"resize": StageWork(1e6, image_s)}, 1e9, image_bytes)


def fleet(replicas: int) -> list[Capacity]:
    return [Capacity(Stage(name="resize", operations=("resize",)), replicas)]


@pytest.mark.parametrize(
    ("mean_pixels", "expected"),
    [
        (None, LEAST_IMAGES),  # nothing is known yet
        (0.0, LEAST_IMAGES),
        (512 * 512, 4 * LEAST_IMAGES),
        (724 * 724, 2 * LEAST_IMAGES),
        (1024 * 1024, LEAST_IMAGES),
        (16384 * 8192, LEAST_IMAGES),
        (64 * 64, 4 * LEAST_IMAGES),  # no more than four times as many
    ],
)
def test_few_replicas_have_more_in_flight_of_small_images(mean_pixels: float | None, expected: int) -> None:
    assert least_window(mean_pixels) == expected


@given(st.floats(1, 1e9))
def test_more_small_images_hold_no_more_pixels(mean_pixels: float) -> None:
    window = least_window(mean_pixels)
    assert LEAST_IMAGES <= window <= WIDEST * LEAST_IMAGES
    assert window == LEAST_IMAGES or window * mean_pixels <= LEAST_IMAGES * SMALL_PIXELS


def test_the_window_follows_the_fleet_up_to_the_limit() -> None:
    found = [windows_of({1: need(0.05)}, fleet(count), 1, 5_000).windows[1].images for count in (1, 100, 10_000)]
    assert found[0] == LEAST_IMAGES
    assert 2_000 <= found[1] <= 4_500
    assert found[2] == 5_000


def test_who_needs_little_leaves_the_rest_of_the_budget() -> None:
    needs = {1: need(0.05, 1_000_000), 2: need(0.05), 3: need(0.05, 1_000)}
    windows = windows_of(needs, fleet(1_000), 1_000_000_000, 100_000).windows
    full = windows[2].images
    assert full > 20_000
    assert windows[3].images == full
    assert windows[1].images == (1_000_000_000 - full * 1_000) // 1_000_000


@given(
    sizes=st.lists(st.integers(0, 10**9), min_size=1, max_size=9),
    replicas=st.integers(0, 500),
    budget=st.integers(1, 10**12),
)
def test_windows_stay_within_the_budget_together(sizes: list[int], replicas: int, budget: int) -> None:
    needs = {n: need(0.05, size) for n, size in enumerate(sizes)}
    windows, total = windows_of(needs, fleet(replicas), budget, 100_000)
    assert total == windows_of({0: needs[0]}, fleet(replicas), sys.maxsize, 100_000).windows[0].images
    assert all(1 <= window.images <= 100_000 for window in windows.values())
    # One image of each batch goes whatever its size: the turns keep those within the budget.
    assert sum(window.images * window.image_bytes for window in windows.values() if window.images > 1) <= budget


def test_batches_with_other_bottlenecks_have_windows_of_their_own() -> None:
    both = [*fleet(100), Capacity(Stage(name="blur", operations=("blur",)), 50)]
    blurred = WindowNeed({"resize": StageWork(1e3, 0.01), "blur": StageWork(1e3, 0.1)}, 1e9, 0)
    needs = {1: need(0.05), 2: need(0.05), 3: blurred, 4: WindowNeed({}, None, 0)}
    windows, total = windows_of(needs, both, 1, 100_000)
    assert total == windows[1].images + windows[3].images + windows[4].images


@pytest.fixture
def here(tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]") -> "Iterator[CoordinatorHarness]":
    with closing(virtual_harness(tmp_path / "one")) as made:
        made.read_pictures = lambda _open_blob, keys: [PHOTO] * len(keys)
        made.operations = installed_operations()
        yield made


def sent(here: "CoordinatorHarness", images: int) -> None:
    here.submit(batch_id="b", source="in", images=[f"{n:05}.jpg" for n in range(images)], operations=ROUTE)
    here.loop.call_later(2.5 * TURN_S, here.loop.stop)
    here.loop.start()


@pytest.mark.usefixtures("unlisted")
def test_a_hundred_replicas_are_given_enough_photographs(here: "CoordinatorHarness") -> None:
    """With a window of 256 images most of them were idle: each child holds up to three tasks."""
    here.start(window_gib=1_000)
    here.consumers.update({"resize": 100, "blur": 100})
    sent(here, 5_000)
    assert here.depth("muniflow.step.resize") >= 600
    assert here.coordinator is not None
    live = here.coordinator.live()
    assert live.window == live.in_flight == here.depth("muniflow.step.resize")
    assert live.intermediate_bytes == live.in_flight * PHOTO_BYTES


@pytest.mark.usefixtures("unlisted")
def test_no_more_photographs_than_the_store_has_room_for(here: "CoordinatorHarness") -> None:
    here.start(window_gib=1)
    here.consumers.update({"resize": 100, "blur": 100})
    sent(here, 5_000)
    assert here.coordinator is not None
    assert here.coordinator.live().window == here.depth("muniflow.step.resize") == 2**30 // PHOTO_BYTES
