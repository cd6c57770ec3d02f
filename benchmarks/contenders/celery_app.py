"""The predecessor's way, written anew: one Celery task for each image, every operation in memory."""

import os
from pathlib import Path
from typing import Any

from celery import Celery  # type: ignore[import-untyped]  # it ships no types
from celery.signals import worker_process_init  # type: ignore[import-untyped]  # it ships no types

app: Any = Celery("benchmarks", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _one_thread(**_: object) -> None:
    if os.environ.get("BENCH_ONE_OPENCV_THREAD"):
        import cv2

        cv2.setNumThreads(1)


@app.task(name="process_image")  # type: ignore[untyped-decorator]
def process_image(source: str, operations: list[list[str | bool]], output: str) -> int:
    """Decode, run all operations, write the outputs; returns how many images it did, like the predecessor."""
    from benchmarks.chain import run

    run(source, operations, Path(output))
    return 1
