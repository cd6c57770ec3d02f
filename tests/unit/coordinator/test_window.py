"""How many images of a batch are in flight."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow_coordinator.runs.window import SMALL_PIXELS, WIDEST, window_for

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


@pytest.mark.parametrize(
    ("images", "mean_pixels", "expected"),
    [
        (256, None, 256),  # nothing is known yet
        (256, 0.0, 256),
        (256, 512 * 512, 1024),
        (256, 724 * 724, 512),
        (256, 1024 * 1024, 256),
        (256, 16384 * 8192, 256),  # panoramas: what was asked for
        (256, 64 * 64, 1024),  # no more than four times as many
        (5, 512 * 512, 20),
    ],
)
def test_the_window_is_wider_for_small_images(images, mean_pixels, expected):
    assert window_for(images, mean_pixels) == expected


@given(st.integers(1, 10_000), st.floats(1, 1e9))
def test_a_wider_window_holds_no_more_pixels(images, mean_pixels):
    window = window_for(images, mean_pixels)
    assert images <= window <= WIDEST * images
    assert window == images or window * mean_pixels <= images * SMALL_PIXELS


def test_the_window_of_a_batch_is_wider_once_its_images_turn_out_small(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(50, 3, window_images=3)
    harness.let_go(first=1)
    harness.until(lambda: len(harness.held) == WIDEST * 3)
    assert harness.coordinator is not None
    assert harness.coordinator.core.scheduler.in_flight(1) == WIDEST * 3
    harness.let_go()
    assert harness.finish().done == 50
