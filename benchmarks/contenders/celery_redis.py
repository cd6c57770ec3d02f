"""Celery + Redis: a worker with two processes; a group of one task per image, waited for as users wait for it."""

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.corpus import Corpus
from benchmarks.harness import expect_outputs
from benchmarks.processes import Processes
from benchmarks.redis import start_redis
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Run
from benchmarks.tuning import ALLOCATOR

CONCURRENCY = 2
TIMEOUT_S = 1800.0


class CeleryRedis:
    """As shipped: Celery's, OpenCV's and glibc's own defaults. Tuned: one OpenCV thread and the allocator settings."""

    def __init__(self, name: str, *, tuned: bool) -> None:
        """Two of them have two Redis servers and do not meet."""
        self.name = name
        self._tuned = tuned
        self._processes: Processes | None = None

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start Redis and the worker, and wait until the worker answers."""
        self._corpus, self._route, self._output = corpus, route, folder / "output"
        self._processes = Processes(folder)
        url = start_redis(self._processes, folder / "redis")
        env = {"BENCH_REDIS_URL": url} | ({"BENCH_ONE_OPENCV_THREAD": "1"} | ALLOCATOR if self._tuned else {})
        self._processes.python(
            "worker", "celery", "-A", "benchmarks.contenders.celery_app", "worker",
            "--concurrency", str(CONCURRENCY), "--loglevel", "WARNING", env=env,
        )  # fmt: skip
        self.app = client(url)
        self._processes.wait_for("the Celery worker", lambda: bool(self.app.control.ping(timeout=1.0)))

    def run(self) -> Run:
        """All images; the clock runs from the first task sent to the last result read."""
        assert self._processes is not None  # noqa: S101 - prepare came first
        self._output.mkdir(parents=True)
        from celery import group  # type: ignore[import-untyped]  # it ships no types

        task = self.app.signature
        operations, output = self._route.document(), str(self._output)
        spent_s, mine_s, started = self._processes.cpu_s(), time.process_time(), time.perf_counter()
        tasks = [task("process_image", (path, operations, output)) for path in self._corpus.paths]
        sent = group(tasks, app=self.app).apply_async()
        counts = sent.get(timeout=TIMEOUT_S)
        seconds = time.perf_counter() - started
        run = Run(sum(counts), seconds, self._processes.cpu_s() - spent_s + time.process_time() - mine_s)
        sent.forget()
        expect_outputs(self._output, self._corpus.count * self._route.outputs_per_image)
        shutil.rmtree(self._output)
        return run

    def close(self) -> None:
        """End worker and Redis."""
        if self._processes is not None:
            self._processes.close()


def client(url: str) -> Any:
    """A Celery app of its own for this Redis; the module's app reads its URL when a worker imports it."""
    from celery import Celery

    return Celery("benchmarks", broker=url, backend=url)
