"""Whether the cost stays flat: per image as a batch grows, per megapixel as images grow. CPU time, broker included.

One stack does all of it, in interleaved rounds, so that nothing but the batch differs.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.corpus import SIZES, Corpus, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.statistics import Run, off_median, order_of, spread, together
from benchmarks.tables import Result

TOLERANCE = 0.1
LEAST_IMAGES = 2000
"""Images of one size of batch in a round: CPU time is counted in hundredths of a second, so small batches repeat."""


def per_image(counts: Sequence[int], rounds: int, route_name: str, photos: Path) -> Result:
    """Batches of different lengths, of 512 px images, chained. Long ones name the same pictures many times."""
    corpora = {f"{count:,}": corpus(SIZES["512"], count, photos) for count in sorted(counts)}
    found = _measure(corpora, rounds, route_name, lambda pictures: max(1, LEAST_IMAGES // pictures.count))
    rows, middles = [], []
    for name, runs in found.items():
        cpu, wall = spread([run.cpu_ms_per_image for run in runs]), spread([run.images_per_s for run in runs])
        middles.append(cpu.median)
        rows.append((name, wall.text(1), cpu.text(2), f"{cpu.median / middles[0]:.2f}"))
    header = ("images in the batch", "images/s", "CPU ms per image", "/ the first")
    title = f"Cost per image, 512 px, {ROUTES[route_name].text}, chained"
    return Result(title, header, tuple(rows), (verdict(middles),), _raw(found))


def per_megapixel(sizes: Sequence[str], rounds: int, route_name: str, photos: Path) -> Result:
    """Images of different sizes, chained."""
    corpora = {size: corpus(SIZES[size], None, photos) for size in sizes}
    found = _measure(corpora, rounds, route_name, lambda _: 1)
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


def _measure(
    corpora: Mapping[str, Corpus],
    rounds: int,
    route_name: str,
    repeats: Callable[[Corpus], int],
) -> dict[str, list[Run]]:
    folder = Path(tempfile.mkdtemp(prefix="flat-", dir=cache_folder()))
    found: dict[str, list[Run]] = {name: [] for name in corpora}
    stack = MuniflowBroker("chained", chained=True)
    try:
        first = next(iter(corpora.values()))
        stack.prepare(first, ROUTES[route_name], folder)
        stack.run()  # warm
        for number in range(rounds):
            for name in order_of(list(corpora), number):
                pictures = corpora[name]
                found[name].append(together([stack.run_with(pictures) for _ in range(repeats(pictures))]))
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
