"""What a second worker of each stage brings: the same batch with one and with two, interleaved, one operation each."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.corpus import EXAMPLES, SIZES, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.statistics import Round, cpu_ratios, order_of, rates, ratios, spread
from benchmarks.tables import Result, single_runs

ONE, TWO = "1 worker", "2 workers"


def scale(
    sizes: Sequence[str], rounds: int, *, route_name: str, images: int | None = None, photos: Path = EXAMPLES
) -> Result:
    """Each size in turn; both stacks stay started, and the one that waits costs nothing."""
    rows: list[tuple[str, ...]] = []
    raw: dict[str, object] = {}
    for size in sizes:
        done = _measure(size, rounds, route_name, images, photos)
        print(f"  {size}: 2 / 1 = {ratios(done, TWO, ONE).text()}", flush=True)
        rows.append(row(size, done))
        raw[size] = single_runs(done)
    header = (
        "size, px",
        "1 worker, images/s",
        "2 workers, images/s",
        "2 / 1",
        "CPU per image, 2 / 1",
        "cores busy, 1",
        "2",
    )
    cores = len(os.sched_getaffinity(0))
    notes = (
        f"{ROUTES[route_name].text}, one operation per worker, on {cores} cores, broker and coordinator included",
        f"median (lowest to highest) of {rounds} interleaved rounds; each ratio is taken within a round",
        "where one worker of each stage keeps every core busy already, a second one cannot bring more",
    )
    return Result("From 1 to 2 workers of each stage", header, tuple(rows), notes, raw)


def row(size: str, done: Sequence[Round]) -> tuple[str, ...]:
    """The cells of one size."""
    busy = [spread([one[name].cpu_s / one[name].seconds for one in done]).median for name in (ONE, TWO)]
    return (
        size,
        rates(done, ONE).text(1),
        rates(done, TWO).text(1),
        ratios(done, TWO, ONE).text(),
        cpu_ratios(done, TWO, ONE).text(),
        *(f"{cores:.2f}" for cores in busy),
    )


def _measure(size: str, rounds: int, route_name: str, images: int | None, photos: Path) -> list[Round]:
    pictures, route = corpus(SIZES[size], images, photos), ROUTES[route_name]
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=cache_folder()))
    try:
        with ExitStack() as stack:
            contenders = {}
            for name, replicas in ((ONE, 1), (TWO, 2)):
                contenders[name] = MuniflowBroker(name, chained=False, replicas=replicas)
                stack.callback(contenders[name].close)
                contenders[name].prepare(pictures, route, folder / str(replicas))
                warm = contenders[name].run()
                print(f"  {name}: ready ({warm.images_per_s:.1f} images/s in the warm-up)", flush=True)
            return [
                {name: contenders[name].run() for name in order_of(list(contenders), number)}
                for number in range(rounds)
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
