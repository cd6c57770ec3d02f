"""How fast this machine is from moment to moment: the CPU time of one fixed piece of work, again and again."""

import sys
import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from benchmarks.processes import Processes
from muniflow.images.opencv import cv2

PAUSE_S = 1.0
SIDE_PX = 512


def measure() -> float:
    """CPU seconds of one blur and one encoding, as a worker's child has them."""
    image = np.random.default_rng(1).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    began_s = time.process_time()
    cv2.imencode(".jpg", cv2.GaussianBlur(image, (21, 21), 0))
    return time.process_time() - began_s


class Pace:
    """A process that measures once a second."""

    def __init__(self, processes: Processes) -> None:
        """Start it."""
        self._log = processes.folder / "pace.log"
        processes.python("pace", "benchmarks.pace")

    def readings(self) -> list[tuple[float, float]]:
        """Unix time and CPU seconds of each measurement so far."""
        lines = self._log.read_text().splitlines()
        return [(float(at), float(seconds)) for at, seconds in (line.split() for line in lines if line.count(" ") == 1)]


def slowness(readings: Sequence[tuple[float, float]], began_at: float, ended_at: float) -> float:
    """How many times slower the machine was between two moments than over all of the readings."""
    within = [seconds for at, seconds in readings if began_at <= at <= ended_at]
    return median(within) / median(seconds for _, seconds in readings) if within else 1.0


def main() -> None:
    """Measure until this process is ended."""
    cv2.setNumThreads(1)
    while True:
        sys.stdout.write(f"{time.time():.3f} {measure():.6f}\n")
        sys.stdout.flush()
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
