"""A process of the floor: takes numbers of images from standard input, says a word for each on standard output."""

import os
import sys
from pathlib import Path

import cv2

from benchmarks.chain import run
from benchmarks.contenders.floor import NUMBER, WORD
from benchmarks.routes import ROUTES


def main() -> None:
    """Serve until the pipe is closed. Whole numbers are written, so whole numbers are read."""
    source, route_name, output, decode = sys.argv[1:]
    operations = ROUTES[route_name].operations
    cv2.setNumThreads(1)
    os.write(1, WORD)
    while data := os.read(0, NUMBER.size):
        (number,) = NUMBER.unpack(data)
        run(f"{source}/{number:06}.jpg", operations, Path(output), fast=decode == "fast")
        os.write(1, WORD)


if __name__ == "__main__":
    main()
