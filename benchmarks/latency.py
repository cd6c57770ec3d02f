"""The time from a job published to its result at light load: one image at a time, muniflow against Celery."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cluster import Cluster, batch_name
from benchmarks.contenders.celery_redis import CeleryRedis
from benchmarks.contenders.muniflow_broker import OUTPUT, groups_of
from benchmarks.corpus import EXAMPLES, SIZES, Corpus, cache_folder, corpus
from benchmarks.routes import ROUTES, BenchRoute
from benchmarks.statistics import percentile
from benchmarks.tables import Result

IMAGES = 50
PAUSE_S = 0.05
"""Between two jobs: light load, with every process asleep when the next one comes."""
SLICE = 10
"""Jobs of one contender before the next one has its turn."""
TIMEOUT_S = 60.0


def latency(size: str, route_name: str, jobs: int, photos: Path = EXAMPLES) -> Result:
    """Publish `jobs` jobs of one image to each contender, in interleaved slices."""
    pictures, route = corpus(SIZES[size], IMAGES, photos), ROUTES[route_name]
    folder = Path(tempfile.mkdtemp(prefix="latency-", dir=cache_folder()))
    taken: dict[str, list[float]] = {}
    try:
        with ExitStack() as stack:
            contenders = {
                "muniflow, one operation per worker": _muniflow(stack, folder / "per-step", pictures, route, False),
                "muniflow, chained": _muniflow(stack, folder / "chained", pictures, route, True),
                "Celery as shipped": _celery(stack, folder / "celery", pictures, route, False),
                "Celery tuned": _celery(stack, folder / "tuned", pictures, route, True),
            }
            for job in contenders.values():
                for number in range(SLICE):
                    job(number)  # warm: caches, connections, prefetch
            for first in range(0, jobs, SLICE):
                for name, job in contenders.items():
                    taken.setdefault(name, []).extend(_timed(job, number) for number in range(first, first + SLICE))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = tuple(
        (name, *(f"{percentile(values, percent) * 1000:.1f}" for percent in (50, 90, 99)), f"{max(values) * 1000:.1f}")
        for name, values in taken.items()
    )
    header = ("", "p50, ms", "p90, ms", "p99, ms", "worst, ms")
    notes = (
        f"{jobs} jobs of one image each, one at a time, {PAUSE_S * 1000:.0f} ms apart, in interleaved slices",
        "muniflow: a whole batch, from its publishing to the notice that it is done, report written",
        "Celery: one task, from sending to its result",
    )
    return Result(f"Latency at light load, {SIZES[size].name} px, {route.text}", header, rows, notes, taken)


def _timed(job: Callable[[int], None], number: int) -> float:
    time.sleep(PAUSE_S)
    started = time.perf_counter()
    job(number)
    return time.perf_counter() - started


def _muniflow(
    stack: ExitStack,
    folder: Path,
    pictures: Corpus,
    route: BenchRoute,
    chained: bool,
) -> Callable[[int], None]:
    cluster = stack.enter_context(Cluster(folder, pictures.root, groups_of(route, chained=chained)))
    client = stack.enter_context(cluster.client())

    def job(number: int) -> None:
        batch_id = batch_name("one")
        image = f"{number % pictures.count:06}.jpg"
        client.submit({"batch_id": batch_id, "source": pictures.prefix, "images": [image],
                       "operations": route.document(), "output": OUTPUT})  # fmt: skip
        notice, _ = client.wait([batch_id], TIMEOUT_S)[batch_id]
        if notice.state != "done":
            raise SystemExit(f"a batch of one image is {notice.state}")

    return job


def _celery(
    stack: ExitStack,
    folder: Path,
    pictures: Corpus,
    route: BenchRoute,
    tuned: bool,
) -> Callable[[int], None]:
    celery = CeleryRedis("celery", tuned=tuned)
    stack.callback(celery.close)
    celery.prepare(pictures, route, folder)
    output = folder / "output"
    output.mkdir()

    def job(number: int) -> None:
        path = pictures.paths[number % pictures.count]
        signature = celery.app.signature("process_image", (path, route.document(), str(output)))
        signature.apply_async().get(timeout=TIMEOUT_S)

    return job
