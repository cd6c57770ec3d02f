"""Whether the cost stays flat: per image as a batch grows, per megapixel as images grow. CPU time, broker included.

One stack does all of it, in interleaved rounds, so that nothing but the batch differs.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.corpus import SIZES, Corpus, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.statistics import Run, off_median, order_of, spread, together
from benchmarks.tables import Result

TOLERANCE = 0.1
LEAST_IMAGES = 2000
"""Images of one size of batch in a round: CPU time is counted in hundredths of a second, so small batches repeat."""


class Load(NamedTuple):
    """What a round runs of one row of a table."""

    pictures: Corpus
    at_once: int = 1
    """Batches that are sent together."""
    repeats: int = 1
    """How often, one after the other."""


def per_image(counts: Sequence[int], rounds: int, route_name: str, photos: Path) -> Result:
    """Batches of different lengths, of 512 px images, chained. Long ones name the same pictures many times.

    Small batches are sent together, so that all rows keep the machine as busy; the smallest also one after the other.
    """
    loads = {}
    for count in sorted(counts):
        times = max(1, LEAST_IMAGES // count)
        loads[_row(count, times)] = Load(corpus(SIZES["512"], count, photos), at_once=times)
    smallest = min(counts)
    alone = f"{smallest:,}, one batch at a time"
    loads[alone] = Load(corpus(SIZES["512"], smallest, photos), repeats=max(1, LEAST_IMAGES // smallest))
    found = _measure(loads, rounds, route_name)
    rows, middles = [], {}
    for name, runs in found.items():
        cpu, wall = spread([run.cpu_ms_per_image for run in runs]), spread([run.images_per_s for run in runs])
        middles[name] = cpu.median
        rows.append((name, wall.text(1), cpu.text(2), f"{cpu.median / next(iter(middles.values())):.2f}"))
    del middles[alone]
    header = ("images in the batch", "images/s", "CPU ms per image", "/ the first")
    title = f"Cost per image, 512 px, {ROUTES[route_name].text}, chained"
    note = f"{verdict(list(middles.values()))}; without the last row, in which both cores idle between two batches"
    return Result(title, header, tuple(rows), (note,), _raw(found))


def _row(count: int, times: int) -> str:
    return f"{count:,}" if times == 1 else f"{count:,}, {times} batches at once"


def per_megapixel(sizes: Sequence[str], rounds: int, route_name: str, photos: Path) -> Result:
    """Images of different sizes, chained."""
    found = _measure({size: Load(corpus(SIZES[size], None, photos)) for size in sizes}, rounds, route_name)
    rows, middles = [], []
    for name, runs in found.items():
        megapixels = SIZES[name].width_px * SIZES[name].height_px / 1e6
        cpu = spread([run.cpu_ms_per_image / megapixels for run in runs])
        wall = spread([run.images_per_s * megapixels for run in runs])
        middles.append(cpu.median)
        rows.append((name, wall.text(1), cpu.text(2), f"{cpu.median / middles[0]:.2f}"))
    header = ("size, px", "megapixels/s", "CPU ms per megapixel", "/ the first")
    title = f"Cost per megapixel, {ROUTES[route_name].text}, chained"
    return Result(title, header, tuple(rows), (verdict(middles),), _raw(found))


def _measure(loads: Mapping[str, Load], rounds: int, route_name: str) -> dict[str, list[Run]]:
    folder = Path(tempfile.mkdtemp(prefix="flat-", dir=cache_folder()))
    found: dict[str, list[Run]] = {name: [] for name in loads}
    stack = MuniflowBroker("chained", chained=True)
    try:
        stack.prepare(next(iter(loads.values())).pictures, ROUTES[route_name], folder)
        stack.run()  # warm
        for number in range(rounds):
            for name in order_of(list(loads), number):
                pictures, at_once, repeats = loads[name]
                found[name].append(together([stack.run_with(pictures, at_once) for _ in range(repeats)]))
                print(f"  round {number + 1}, {name}: {found[name][-1].cpu_ms_per_image:.2f} ms", flush=True)
    finally:
        stack.close()
        shutil.rmtree(folder, ignore_errors=True)
    return found


def verdict(middles: Sequence[float]) -> str:
    """The sentence below the table."""
    low, high = off_median(middles)
    flat = "all within" if -low <= TOLERANCE and high <= TOLERANCE else "NOT all within"
    least = 1 - min(middles) / max(middles)
    return (
        f"{flat} {TOLERANCE:.0%} of their median, {low:+.1%} to {high:+.1%}; the least is {least:.1%} below the most; "
        "one stack, rounds interleaved"
    )


def _raw(found: Mapping[str, Sequence[Run]]) -> object:
    return {name: [(run.images, run.seconds, run.cpu_s) for run in runs] for name, runs in found.items()}
