"""The regression guard: honest on a noisy machine, so never a limit on wall-clock time.

- exact counts: how many Python and C functions one task calls. The same on every machine, whatever its load; a loop
  over pixels, a second decode or a model built twice shows at once.
- CPU ratios inside one interleaved run, with wide margins: muniflow's `process` against the plain OpenCV chain on the
  same pictures in the same process.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import chain
from benchmarks.corpus import EXAMPLES, photographs, picture
from benchmarks.routes import ROUTES, BenchRoute
from muniflow.compute.context import Context
from muniflow.compute.process import process
from muniflow.compute.step import installed_steps
from muniflow.images.limits import ImageLimits
from muniflow.model.batch import Batch, read_batch
from muniflow.model.messages import Task
from muniflow.model.operation import installed_operations
from muniflow.model.settlement import Done
from muniflow.store.listing import ImageRef, first_task
from muniflow.store.open import open_store

SIZE_PX = 512
IMAGES = 12
ROUNDS = 7
ROUTE = ROUTES["resize-split-blur"]
PROCESS_CPU_LIMIT = 1.5
"""`process` over the plain chain, CPU time. Five runs gave 1.06 to 1.14, and 1.16 to 1.27 with a load of 8 on 2 cores;
a second decode adds half of the plain chain."""
PROCESS_CALLS_LIMIT = 850
"""It is 658 with Python 3.11; a few of them are the libraries', hence the margin."""
MESSAGE_CALLS_LIMIT = 40


@dataclass(frozen=True)
class Bench:
    """Tiny pictures, the tasks that muniflow makes of them, and what its children compute them with."""

    paths: list[str]
    tasks: list[Task]
    context: Context
    plain: Path
    """Where the plain chain writes."""


@contextmanager
def bench(route: BenchRoute = ROUTE) -> Iterator[Bench]:
    """In a temporary folder, in memory where that is possible: what a disk does is not what is guarded."""
    memory = Path("/dev/shm")  # noqa: S108 - a random name is made below it
    with tempfile.TemporaryDirectory(prefix="guard-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        roots = {name: Path(folder, name) for name in ("source", "work", "output", "plain")}
        for root in roots.values():
            root.mkdir()
        photos = photographs(EXAMPLES)
        for number in range(IMAGES):
            (roots["source"] / f"{number}.jpg").write_bytes(chain.encode(picture(photos, SIZE_PX, SIZE_PX, number)))
        names = [f"{number}.jpg" for number in range(IMAGES)]
        batch = _batch(route, names)
        tasks = [first_task(batch, ImageRef(number, name, str(number))) for number, name in enumerate(names)]
        source, work, output = (open_store(f"file://{roots[name]}") for name in ("source", "work", "output"))
        context = Context(installed_steps(), source, work, output, ImageLimits(), durable_outputs=False)
        yield Bench([str(roots["source"] / name) for name in names], tasks, context, roots["plain"])


def _batch(route: BenchRoute, names: list[str]) -> Batch:
    import json

    output = {"format": "jpg", "quality": chain.JPEG_QUALITY}
    document: dict[str, Any] = {"batch_id": "guard", "images": names, "operations": route.document(), "output": output}
    return read_batch(json.dumps(document), installed_operations())


def count_calls(action: Callable[[], object]) -> int:
    """How many functions, of Python and of C, `action` calls."""
    count = 0

    def watch(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def cpu_ratio(made: Bench) -> float:
    """CPU time of `process` over that of the plain chain: the median of ratios within a round."""

    def ours(number: int) -> None:
        for task in made.tasks:
            outcome = process(into(task, number), made.context)
            if outcome.disposition != Done():
                raise RuntimeError(f"a task of the guard failed: {outcome.disposition}")

    def plain(number: int) -> None:
        folder = made.plain / str(number)
        folder.mkdir()
        for path in made.paths:
            chain.run(path, ROUTE.operations, folder)

    found = []
    for number in range(ROUNDS + 1):
        spent = {action: _cpu_s(action, number) for action in ((ours, plain) if number % 2 else (plain, ours))}
        found.append(spent[ours] / spent[plain])
    return statistics.median(found[1:])  # the first round warms caches


def into(task: Task, number: int) -> Task:
    """The same task with outputs of its own: a name that is there already is slower to write."""
    return task.model_copy(update={"destination": f"round-{number}"})


def _cpu_s(action: Callable[[int], None], number: int) -> float:
    started = time.process_time()
    action(number)
    return time.process_time() - started


def faults(say: Callable[[str], object] = print) -> list[str]:
    """What got worse, in words; nothing when all is well."""
    with bench() as made:
        ratio = cpu_ratio(made)
        # A destination that is there already: making a folder is counted once for a batch, not for each image.
        warm, body = into(made.tasks[0], ROUNDS), made.tasks[0].to_bytes()
        found = [
            ("CPU of `process` over the plain chain", ratio, PROCESS_CPU_LIMIT),
            ("calls of one task, computed", count_calls(lambda: process(warm, made.context)), PROCESS_CALLS_LIMIT),
            ("calls of one task, read and written", count_calls(lambda: Task.from_bytes(body).to_bytes()),
             MESSAGE_CALLS_LIMIT),
        ]  # fmt: skip
    for name, value, limit in found:
        say(f"{name}: {value:.4g} (limit {limit:.4g})")
    return [f"{name} is {value:.4g}; the limit is {limit:.4g}" for name, value, limit in found if value > limit]
