"""How fast this machine is between batches: the CPU time of one fixed piece of work, on all its cores at once.

Beside a batch it would say how busy the batch keeps the caches, which is no property of the machine: with one stage at
work it was faster than with three, and corrected errors were larger than raw ones.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from statistics import mean, median

import numpy as np

from muniflow.images.opencv import cv2

SIDE_PX = 1024
IMAGES = 40
"""Of a reading: half a second or so."""

Reading = tuple[float, float]
"""Unix time, and CPU seconds of the work."""


def work_s() -> float:
    """CPU seconds of blurring, encoding and decoding one picture some times, as a worker's child does."""
    cv2.setNumThreads(1)
    noise = np.random.default_rng(1).integers(0, 255, (SIDE_PX // 8, SIDE_PX // 8, 3), dtype=np.uint8)
    image = cv2.resize(noise, (SIDE_PX, SIDE_PX))
    began_s = time.process_time()
    for _ in range(IMAGES):
        _, encoded = cv2.imencode(".jpg", cv2.GaussianBlur(image, (5, 5), 0))
        cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return time.process_time() - began_s


class Pace:
    """Readings, taken on a pool with a process for each core, which idle between them."""

    def __init__(self, pool: Executor, cores: int) -> None:
        """Warm the pool up."""
        self._pool = pool
        self._cores = cores
        self.readings: list[Reading] = []
        self._measure_s()

    def read(self) -> None:
        """Take a reading, while nothing else runs."""
        spent_s = self._measure_s()
        self.readings.append((time.time(), spent_s))

    def _measure_s(self) -> float:
        return mean(one.result() for one in [self._pool.submit(work_s) for _ in range(self._cores)])


def slowness(readings: Sequence[Reading], began_at: float, ended_at: float) -> float:
    """How many times slower the machine was around a batch than in the median of all readings.

    Args:
        readings: one before the batch and one after it at least, in order.
        began_at: when the batch began, unix seconds.
        ended_at: when it ended.
    """
    before = [seconds for at, seconds in readings if at <= began_at][-1:]
    after = [seconds for at, seconds in readings if at >= ended_at][:1]
    return mean(before + after) / median(seconds for _, seconds in readings)
