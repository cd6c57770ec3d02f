"""The coordinator alone: null workers answer its tasks, broker and all on the same cores.

- throughput and memory, from 10,000 to 1,000,000 images of one batch
- fairness: 1,000 batches of different weights at once
- a small batch beside a huge one
"""

import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import proc
from benchmarks.client import Client
from benchmarks.cluster import Cluster, batch_name
from benchmarks.corpus import cache_folder
from benchmarks.tables import Result
from muniflow.model.api import BatchList
from muniflow.model.messages import Notice
from muniflow.model.topology import step_queue
from muniflow_coordinator.handlers.absent import MAX_LISTED

OPERATION = "blur"
OPERATIONS = [[OPERATION, "gaussian"]]
NULL_WORKERS = 1
TIMEOUT_S = 3600.0
SAMPLE_S = 0.25
WINDOW_IMAGES, WINDOW_TOTAL = 256, 1024
"""Images in flight of one batch, and of all, in this benchmark."""


class Bench:
    """A coordinator with its broker and, once `answer` is called, null workers."""

    def __init__(self, folder: Path) -> None:
        """Describe it; `bench` starts it."""
        self.source = folder / "source"
        self.source.mkdir(parents=True)
        windows = {"MUNIFLOW_WINDOW_IMAGES": str(WINDOW_IMAGES), "MUNIFLOW_WINDOW_TOTAL": str(WINDOW_TOTAL)}
        self.cluster = Cluster(folder / "cluster", self.source, [], windows)
        self.workers: list[subprocess.Popen[bytes]] = []

    def answer(self, log: Path | None = None) -> None:
        """Start the null workers and wait until they consume."""
        env = {"MUNIFLOW_AMQP_URL": self.cluster.broker.amqp_url}
        for number in range(NULL_WORKERS):
            arguments = [OPERATION] if log is None else [OPERATION, f"{log}.{number}"]
            name = f"null-{number}-{len(self.workers)}"
            self.workers.append(self.cluster.processes.python(name, "benchmarks.null_worker", *arguments, env=env))
        with self.cluster.client() as client:
            self.cluster.processes.wait_for(
                "the null workers", lambda: client.consumers(step_queue(OPERATION)) >= NULL_WORKERS
            )

    def manifest(self, images: int) -> str:
        """A manifest of this many keys, in the source store.

        The images need not be there: so many other names are that the coordinator's listing gives up.
        """
        name, others = f"{images}.txt", self.source / "others"
        if not others.exists():
            others.mkdir()
            for number in range(MAX_LISTED + 1):
                (others / f"{number}.jpg").touch()
        if not (self.source / name).exists():
            with (self.source / name).open("w") as file:
                file.writelines(f"aerial/{number // 1000:04}/{number:07}.jpg\n" for number in range(images))
        return name

    def document(self, batch_id: str, images: int, weight: int = 1) -> dict[str, Any]:
        """A batch of this many images."""
        return {
            "batch_id": batch_id,
            "manifest": self.manifest(images),
            "operations": OPERATIONS,
            "weight": weight,
        }

    def parts_s(self) -> dict[str, float]:
        """CPU seconds so far of broker, coordinator and null workers."""
        usage = self.cluster.usage()
        return {
            "broker": usage.broker_s,
            "coordinator": usage.coordinator_s,
            "null workers": proc.cpu_s([worker.pid for worker in self.workers]),
        }


@contextmanager
def bench() -> Iterator[Bench]:
    """A started coordinator and broker in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="coordinator-", dir=cache_folder()))
    made = Bench(folder)
    try:
        with made.cluster:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Watch(threading.Thread):
    """Samples the resident memory of one process until it is stopped."""

    def __init__(self, pid: int) -> None:
        """For this process."""
        super().__init__(daemon=True)
        self._pid, self._end = pid, threading.Event()
        self.peak_mb = 0.0

    def run(self) -> None:
        """Keep the highest value."""
        while not self._end.wait(SAMPLE_S):
            self.peak_mb = max(self.peak_mb, proc.rss_mb(self._pid))

    def stop(self) -> float:
        """End and return the peak in MB."""
        self._end.set()
        self.join()
        return self.peak_mb


@dataclass(frozen=True)
class Growth:
    """One batch of `images`, from its publishing to its notice."""

    images: int
    seconds: float
    peak_mb: float
    cpu_ms_per_image: Mapping[str, float]


def grow(sizes: Sequence[int]) -> Result:
    """Throughput and memory over the size of a batch; each size has a coordinator and a broker of its own."""
    rows, raw = [], []
    for size in sizes:
        with bench() as made, made.cluster.client() as client:
            made.answer()
            idle_mb = proc.rss_mb(made.cluster.coordinator_pid)
            one = _one_batch(made, client, size)
        print(f"  {size} images: {one.images / one.seconds:.0f}/s, {one.peak_mb:.0f} MB", flush=True)
        raw.append({"images": size, "seconds": one.seconds, "peak_mb": one.peak_mb, "idle_mb": idle_mb,
                    "cpu_ms_per_image": dict(one.cpu_ms_per_image)})  # fmt: skip
        cpu = [f"{one.cpu_ms_per_image[part]:.2f}" for part in ("broker", "coordinator", "null workers")]
        rows.append((f"{size:,}", f"{size / one.seconds:,.0f}", f"{idle_mb:.0f}", f"{one.peak_mb:.0f}", *cpu))
    header = ("images", "images/s", "MB idle", "MB at most", "broker, CPU ms", "coordinator", "null worker")
    notes = ("from the batch published to the notice that it is done: read, dispatched, settled, reported",
             "CPU milliseconds are per image; MB are the coordinator's resident memory")  # fmt: skip
    return Result("The coordinator alone, one batch", header, tuple(rows), notes, raw)


def _one_batch(made: Bench, client: Client, images: int) -> Growth:
    batch_id = batch_name("grow")
    document = made.document(batch_id, images)
    before, watch, started = made.parts_s(), Watch(made.cluster.coordinator_pid), time.perf_counter()
    watch.start()
    client.submit(document)
    notice, ended = client.wait([batch_id], TIMEOUT_S)[batch_id]
    _expect_done(notice, images)
    after = made.parts_s()
    cpu = {part: (after[part] - before[part]) / images * 1000 for part in after}
    return Growth(images, ended - started, watch.stop(), cpu)


def _expect_done(notice: Notice, images: int) -> None:
    if notice.state != "done" or notice.done != images:
        raise SystemExit(f"the batch is {notice.state} with {notice.done} of {images} images done")


def shares(order: Sequence[str], weights: Mapping[str, int], images: int, skip: int) -> dict[str, float]:
    """Tasks per unit of weight that each batch was given while all of them still had images left.

    Args:
        order: the batch of each task, in the order of their dispatch.
        weights: of every batch.
        images: of each batch.
        skip: tasks at the start that were dispatched before all batches were there.

    Returns:
        By batch, relative to the mean: 1.0 is exactly fair.
    """
    seen, counted = Counter(order[:skip]), Counter[str]()
    for batch in order[skip:]:
        seen[batch] += 1
        if seen[batch] >= images:
            break
        counted[batch] += 1
    per_weight = {batch: counted[batch] / weight for batch, weight in weights.items()}
    mean = sum(per_weight.values()) / len(per_weight)
    return {batch: value / mean for batch, value in per_weight.items()} if mean else dict.fromkeys(weights, 0.0)


def fair(batches: int, images: int) -> Result:
    """Many batches at once, a third each of weight 1, 2 and 3: the work each gets, per weight, against the mean."""
    with bench() as made, made.cluster.client() as client:
        # They fill the window of images in flight, so that nothing of the others is dispatched before all are there.
        plugs = [batch_name(f"plug{number}") for number in range(WINDOW_TOTAL // WINDOW_IMAGES)]
        for batch_id in plugs:
            client.submit(made.document(batch_id, WINDOW_IMAGES))
        made.cluster.processes.wait_for("the first batches", lambda: _running(made, len(plugs)), TIMEOUT_S)
        weights = {batch_name(f"fair{number}"): 1 + number % 3 for number in range(batches)}
        for batch_id, weight in weights.items():
            client.submit(made.document(batch_id, images, weight))
        made.cluster.processes.wait_for("every batch's start", lambda: _running(made, len(plugs) + batches), TIMEOUT_S)
        log = made.source.parent / "order"
        watch, started = Watch(made.cluster.coordinator_pid), time.perf_counter()
        watch.start()
        made.answer(log)
        notices = client.wait([*plugs, *weights], TIMEOUT_S)
        seconds = max(ended for _, ended in notices.values()) - started
        for batch_id in weights:
            _expect_done(notices[batch_id][0], images)
        for worker in made.workers:
            worker.terminate()
            worker.wait()
        order = Path(f"{log}.0").read_text().split()
    found = sorted(shares(order, weights, images, WINDOW_TOTAL).values())
    within = sum(abs(share - 1) <= 0.1 for share in found) / len(found)  # noqa: PLR2004 - the 10% that is asked for
    rate = (batches * images + WINDOW_TOTAL) / seconds
    row = (f"{batches:,} x {images}", f"{rate:,.0f}", f"{found[0]:.2f}", f"{found[-1]:.2f}",
           f"{within:.0%}", f"{watch.stop():.0f}")  # fmt: skip
    header = ("batches x images", "images/s", "lowest share", "highest share", "within 10%", "MB at most")
    note = "share: tasks dispatched per unit of weight (1, 2 or 3) while all batches had images left, over the mean"
    return Result("Many batches at once", header, (row,), (note,), {"shares": found, "seconds": seconds})


def _running(made: Bench, batches: int) -> bool:
    """Whether so many batches are read and running; the list comes in pages."""
    found, after = 0, ""
    while True:
        page = BatchList.model_validate_json(made.cluster.get(f"/v1/batches?state=running&limit=100{after}"))
        found += len(page.batches)
        if page.next is None or found >= batches:
            return found >= batches
        after = f"&after={page.next}"


def beside(huge: int, small: int = 10, tries: int = 5) -> Result:
    """The time of a small batch alone, and while a huge one runs."""
    with bench() as made, made.cluster.client() as client:
        made.answer()
        alone = [_small_s(made, client, small) for _ in range(tries)]
        huge_id = batch_name("huge")
        client.submit(made.document(huge_id, huge))
        at_once = _small_s(made, client, small)
        made.cluster.processes.wait_for("the huge batch's start", lambda: _running(made, 1), TIMEOUT_S)
        amid = [_small_s(made, client, small) for _ in range(tries)]
        still = _running(made, 1)
    rows = (
        ("alone", f"{min(alone):.2f} to {max(alone):.2f}"),
        (f"sent right after one of {huge:,}", f"{at_once:.2f}"),
        (f"while one of {huge:,} runs", f"{min(amid):.2f} to {max(amid):.2f}"),
    )
    if not still:
        raise SystemExit(f"the batch of {huge} images ended too soon: give a larger one")
    return Result(f"A batch of {small} images", ("", "seconds"), rows, (f"{tries} tries each",),
                  {"alone": alone, "at_once": at_once, "amid": amid})  # fmt: skip


def _small_s(made: Bench, client: Client, images: int) -> float:
    batch_id = batch_name("small")
    started = time.perf_counter()
    client.submit(made.document(batch_id, images))
    notice, ended = client.wait([batch_id], TIMEOUT_S)[batch_id]
    _expect_done(notice, images)
    return ended - started
