"""How many images of each batch may be in flight (docs/adr/0026-window-of-the-fleet.md). Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from muniflow.forecast.load import Capacity
from muniflow.forecast.window import batch_window, total_window
from muniflow.forecast.work import StageWork


class Window(NamedTuple):
    """What one batch may have in flight."""

    images: int
    image_bytes: int
    """Of the intermediates of one image."""


class WindowNeed(NamedTuple):
    """What is known of one batch."""

    stages: Mapping[str, StageWork]
    mean_pixels: float | None
    """Of its images; `None`: not known."""
    image_bytes: int


class AllWindows(NamedTuple):
    """What all batches may have in flight."""

    windows: Mapping[int, Window]
    """By the number of the batch."""
    total: int
    """Images of all of them together."""


def windows_of(
    needs: Mapping[int, WindowNeed], fleet: Sequence[Capacity], budget_bytes: int, most_images: int
) -> AllWindows:
    """Return a window for each batch that is enough for all replicas, and together within the budget.

    A batch that needs less than an equal part of the budget leaves the rest to the others. Each has one image at least.
    Together they have no more in flight than keeps the fleet busy (`total_window`).

    Args:
        needs: of the batches that run.
        fleet: replicas that run, and those that are wanted.
        budget_bytes: for the intermediates of all batches.
        most_images: of one batch.
    """
    wanted = {
        number: min(batch_window(need.stages, fleet, need.mean_pixels), most_images) for number, need in needs.items()
    }
    total = total_window(((need.stages, wanted[number]) for number, need in needs.items()), fleet)
    return AllWindows(_within(budget_bytes, needs, wanted), total)


def _within(budget_bytes: int, needs: Mapping[int, WindowNeed], wanted: Mapping[int, int]) -> dict[int, Window]:
    windows = {}
    left_bytes, left = budget_bytes, len(needs)
    for number in sorted(needs, key=lambda number: wanted[number] * needs[number].image_bytes):
        image_bytes = needs[number].image_bytes
        images = wanted[number] if not image_bytes else min(wanted[number], left_bytes // left // image_bytes)
        windows[number] = Window(max(images, 1), image_bytes)
        left_bytes = max(left_bytes - windows[number].images * image_bytes, 0)
        left -= 1
    return windows
