"""What metrics and logs cost: the same work with them and without, in turns, in CPU time.

    python -m benchmarks.observability [--rounds 5] [--tasks 1500]

One worker over the in-memory broker resizes small images, the worst case: the less a task takes, the more it weighs to
observe it. `on` counts everything and logs as by default; `off` has metrics that do nothing and no log. Only the
worker's parent observes, so its CPU time is compared, and given as a part of all CPU time (parent and child) of a task.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from muniflow.compute.groups import GroupResult
from muniflow.compute.pool import ComputePool
from muniflow.compute.spec import ChildSpec
from muniflow.model.messages import Encoding, Events, RouteStep, Task
from muniflow.model.operation import installed_operations
from muniflow.model.topology import EVENTS, TASKS_EXCHANGE, step_queue, topology
from muniflow.runtime import logs
from muniflow.runtime.loop import new_loop
from muniflow.testing.memory import MemoryBroker
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.serve import new_worker
from muniflow.worker.settings import WorkerSettings

OPERATION = "resize"
SIZE = (320, 240)
PICTURES = 20
SCRAPE_S = 15.0
SCRAPES = 200


class Silence:
    """A metric that does nothing."""

    def labels(self, *_values: str) -> "Silence":
        return self

    def inc(self, _amount: float = 1) -> None: ...

    dec = set = observe = inc

    def set_function(self, _read: Callable[[], float]) -> None: ...


class SilentMetrics(WorkerMetrics):
    """Metrics that count nothing."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        for name in vars(self):
            setattr(self, name, Silence())

    def delivered(self, step: str, wait_s: float | None, *, redelivered: bool) -> None: ...

    def observe(self, result: GroupResult) -> None: ...


def tasks_of(count: int) -> list[OutgoingMessage]:
    params = installed_operations()[OPERATION].params.from_short("50%").model_dump(mode="json")
    route = (RouteStep(op=OPERATION, params=params),)
    return [
        OutgoingMessage(
            step_queue(OPERATION),
            Task(
                batch="b", image=n, source=f"{n % PICTURES}.jpg", stem=str(n), destination="out",
                encoding=Encoding(format="jpg"), route=route, published_at=time.time(),
            ).to_bytes(),
            TASKS_EXCHANGE,
        )
        for n in range(count)
    ]  # fmt: skip


def cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def one(observed: bool, count: int, root: Path) -> dict[str, float]:
    """Run `count` tasks in this process; returns CPU seconds of the parent while it worked, and of the child in all."""
    logs.configure("json", "INFO" if observed else "CRITICAL", "bench")
    if not observed:
        logging.disable()
    loop = new_loop()
    broker = MemoryBroker(loop)
    spec = ChildSpec(
        source_url=str(root / "source"), work_url=str(root / "work"), output_url=str(root / "output"),
        operations=(OPERATION,), durable_outputs=False,
    )  # fmt: skip
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry) if observed else SilentMetrics()
    worker = new_worker(
        loop, broker.transport("worker"), ComputePool(loop, spec, 1),
        operations=(OPERATION,), settings=WorkerSettings(), metrics=metrics,
    )  # fmt: skip
    other = broker.transport("other")
    settled, began_s = 0, 0.0

    def on_events(delivery: Delivery) -> None:
        nonlocal settled, began_s
        if not settled:
            began_s = cpu_s(resource.RUSAGE_SELF)
        settled += len(Events.from_bytes(delivery.body).settled)
        other.ack([delivery])
        if settled == count:
            worker.stop()

    other.consume(EVENTS, 1000, on_events)
    messages = tasks_of(count)
    other.start(topology([OPERATION]), lambda: other.publish(messages, lambda _problem: None), lambda _reason: None)
    worker.run()
    result = {"parent_s": cpu_s(resource.RUSAGE_SELF) - began_s, "child_s": cpu_s(resource.RUSAGE_CHILDREN)}
    if observed:
        started_s = time.process_time()
        for _ in range(SCRAPES):
            generate_latest(registry)
        result["scrape_s"] = (time.process_time() - started_s) / SCRAPES
    return result


def measure(name: str, count: int, root: Path) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.observability",
        "--one",
        name,
        "--tasks",
        str(count),
        "--root",
        str(root),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def write_pictures(root: Path) -> None:
    import cv2
    import numpy as np

    (root / "source").mkdir()
    noise = np.random.default_rng(3)
    for number in range(PICTURES):
        coarse = noise.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "source" / f"{number}.jpg"), cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC))


def report(found: dict[str, list[dict[str, float]]], count: int) -> None:
    """Print medians, and how far single rounds lie apart."""

    def per_task_us(name: str, part: str) -> list[float]:
        return [round_[part] / count * 1e6 for round_ in found[name]]

    start_us = statistics.median(round_["child_s"] for round_ in found["start"]) / count * 1e6
    children_us = (child - start_us for child in per_task_us("on", "child_s"))
    whole = statistics.median(map(sum, zip(per_task_us("on", "parent_s"), children_us, strict=True)))
    pairs = [on - off for on, off in zip(per_task_us("on", "parent_s"), per_task_us("off", "parent_s"), strict=True)]
    shares = sorted(pair / whole for pair in pairs)
    scrape_s = statistics.median(round_["scrape_s"] for round_ in found["on"])
    print(f"CPU of a task, parent and child: {whole:.0f} us ({SIZE[0]}x{SIZE[1]} JPEG, resize, {count} tasks a round)")
    for name in ("off", "on"):
        values = per_task_us(name, "parent_s")
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"  parent, observation {name:3}: {statistics.median(values):.1f} us ({spread})")
    print(f"metrics and logs: {statistics.median(pairs):.1f} us a task")
    spread = f"{shares[0]:.2%} to {shares[-1]:.2%} over {len(shares)} pairs"
    print(f"  {statistics.median(shares):.2%} of the CPU time ({spread})")
    print(f"a scrape: {scrape_s * 1e3:.2f} ms, {scrape_s / SCRAPE_S:.3%} of a core at one in {SCRAPE_S:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=1500)
    parser.add_argument("--one", choices=("on", "off"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one == "on", given.tasks, given.root)))
        return
    found: dict[str, list[dict[str, float]]] = {"on": [], "off": [], "start": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pictures(root)
        for number in range(given.rounds):
            for name in ("on", "off") if number % 2 else ("off", "on"):
                found[name].append(measure(name, given.tasks, root))
            found["start"].append(measure("on", 1, root))  # imports, which a worker does once in its life
    report(found, given.tasks)


if __name__ == "__main__":
    main()
