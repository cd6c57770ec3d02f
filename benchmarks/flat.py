"""Whether the cost stays flat: per image as a batch grows, per megapixel as images grow. CPU time, broker included."""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.corpus import SIZES, Corpus, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.statistics import Run, is_flat, order_of, spread
from benchmarks.tables import Result

TOLERANCE = 0.1
ROUTE = "resize-split-blur"


def per_image(counts: Sequence[int], rounds: int, photos: Path) -> Result:
    """Batches of different lengths, of 512 px images, chained. Long ones name the same pictures many times."""
    found = _measure({f"{count:,}": corpus(SIZES["512"], count, photos) for count in counts}, rounds)
    rows, middles = [], []
    for name, runs in found.items():
        cpu, wall = spread([run.cpu_ms_per_image for run in runs]), spread([run.images_per_s for run in runs])
        middles.append(cpu.median)
        rows.append((name, wall.text(1), cpu.text(2), f"{cpu.median / middles[0]:.2f}"))
    header = ("images in the batch", "images/s", "CPU ms per image", "/ the first")
    return Result("Cost per image, 512 px, chained", header, tuple(rows), (_verdict(middles),), _raw(found))


def per_megapixel(sizes: Sequence[str], rounds: int, photos: Path) -> Result:
    """Images of different sizes, chained."""
    found = _measure({size: corpus(SIZES[size], None, photos) for size in sizes}, rounds)
    rows, middles = [], []
    for name, runs in found.items():
        megapixels = SIZES[name].width_px * SIZES[name].height_px / 1e6
        cpu = spread([run.cpu_ms_per_image / megapixels for run in runs])
        wall = spread([run.images_per_s * megapixels for run in runs])
        middles.append(cpu.median)
        rows.append((name, wall.text(1), cpu.text(2), f"{cpu.median / middles[0]:.2f}"))
    header = ("size, px", "megapixels/s", "CPU ms per megapixel", "/ the first")
    return Result("Cost per megapixel, chained", header, tuple(rows), (_verdict(middles),), _raw(found))


def _measure(corpora: dict[str, Corpus], rounds: int) -> dict[str, list[Run]]:
    folder = Path(tempfile.mkdtemp(prefix="flat-", dir=cache_folder()))
    found: dict[str, list[Run]] = {name: [] for name in corpora}
    try:
        with ExitStack() as stack:
            contenders = {}
            for name, pictures in corpora.items():
                contenders[name] = MuniflowBroker("chained", chained=True)
                stack.callback(contenders[name].close)
                contenders[name].prepare(pictures, ROUTES[ROUTE], folder / name.replace(",", ""))
                contenders[name].run()
            for number in range(rounds):
                for name in order_of(list(contenders), number):
                    found[name].append(contenders[name].run())
                print(f"  round {number + 1} done", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _verdict(middles: Sequence[float]) -> str:
    flat = "all within" if is_flat(middles, TOLERANCE) else "NOT all within"
    return f"{flat} {TOLERANCE:.0%} of their median; every size has its own stack, rounds interleaved"


def _raw(found: dict[str, list[Run]]) -> object:
    return {name: [(run.images, run.seconds, run.cpu_s) for run in runs] for name, runs in found.items()}
