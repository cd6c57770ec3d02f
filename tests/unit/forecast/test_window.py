"""How many images are in flight."""

import heapq
import random

import pytest
from tests.support.forecast_help import LONG_ROUTE, OPERATIONS, batch, chained, one_per_operation, photo, stage

from muniflow.forecast.load import Capacity
from muniflow.forecast.route import Path
from muniflow.forecast.sizes import SizeSample
from muniflow.forecast.window import mean_intermediate_bytes, window_images
from muniflow.forecast.work import StageWork

NAMES = ("resize", "split", "blur")


def fleet(*counts):
    return [Capacity(stage(name), count) for name, count in zip(NAMES, counts, strict=True)]


def stages(*image_s, tasks=(1, 1, 1)):
    return {
        name: StageWork(1_000 * seconds, seconds, count, seconds / count)
        for name, seconds, count in zip(NAMES, image_s, tasks, strict=True)
    }


def busy_part(window, image_s, counts, images=4_000):
    """How much of its time the bottleneck works, with so many images in flight and tasks of mixed lengths."""
    dice = random.Random(5)
    servers = [[0.0] * count for count in counts]
    flying: list[tuple[float, int, int]] = [(0.0, number, 0) for number in range(window)]  # at, image, stage
    worked, bottleneck, sent, end_s = 0.0, max(range(3), key=lambda one: image_s[one] / counts[one]), window, 0.0
    while flying:
        at, image, place = heapq.heappop(flying)
        began = max(heapq.heappop(servers[place]), at)
        seconds = image_s[place] * dice.uniform(0.3, 1.7)
        worked += seconds * (place == bottleneck)
        end_s = began + seconds
        heapq.heappush(servers[place], end_s)
        if place + 1 < len(counts):
            heapq.heappush(flying, (end_s, image, place + 1))
        elif sent < images:
            heapq.heappush(flying, (end_s + 0.1, sent, 0))
            sent += 1
    return worked / (counts[bottleneck] * end_s)


@pytest.mark.parametrize(("image_s", "counts"), [
    ((0.1, 0.001, 0.2), (100, 1, 100)),
    ((0.1, 0.02, 0.2), (50, 10, 100)),
    ((0.002, 0.0005, 0.001), (1, 1, 1)),
    ((3.0, 0.01, 8.0), (10, 1, 20)),
])  # fmt: skip
def test_it_keeps_the_bottleneck_busy(image_s, counts):
    window = window_images(stages(*image_s), fleet(*counts))
    assert busy_part(window, image_s, counts) > 0.93
    # Three stages that hold each image two seconds, or three tasks for each child.
    assert (
        window
        <= max(6 * min(count / seconds for count, seconds in zip(counts, image_s, strict=True)), 3 * sum(counts)) + 9
    )


def test_one_image_always_goes():
    assert window_images({}, fleet(100, 1, 100)) == 1
    assert window_images(stages(0.1, 0.001, 0.2), fleet(0, 0, 0)) == 1


def test_it_follows_the_fleet():
    needs = stages(0.1, 0.001, 0.2, tasks=(1, 1, 4))
    found = [window_images(needs, fleet(count, 1, 2 * count)) for count in (1, 10, 100)]
    assert found[0] < found[1] < found[2]
    starting = [Capacity(one.stage, 0, one.running) for one in fleet(100, 1, 200)]
    assert window_images(needs, starting) == found[2]


@pytest.mark.parametrize(("found", "operations", "pixels"), [
    (chained(), LONG_ROUTE, 0),
    (one_per_operation(), LONG_ROUTE, 500 * 400),  # the tiles lie in what was resized
    (one_per_operation(), [["split", True], ["blur", "gaussian"]], 1000 * 800),
    (one_per_operation(), [["blur", "gaussian"], ["resize", "50%"]], 1000 * 800),
    (one_per_operation(), [["resize", "50%"], ["blur", "gaussian"], ["split", True]], 2 * 500 * 400),
])  # fmt: skip
def test_bytes_of_intermediates(found, operations, pixels):
    path = Path.of(batch(*operations), OPERATIONS, found)
    assert mean_intermediate_bytes(SizeSample.of(1, [0], [photo(1000, 800)]), path) == 3 * pixels


def test_the_mean_over_what_could_be_read():
    path = Path.of(batch(["blur", "gaussian"], ["resize", "50%"]), OPERATIONS, one_per_operation())
    sample = SizeSample.of(3, range(3), [photo(1000, 800), None, photo(100, 80)])
    assert mean_intermediate_bytes(sample, path) == 3 * (1000 * 800 + 100 * 80) / 2
    assert mean_intermediate_bytes(SizeSample.of(1, [0], [None]), path) == 0
