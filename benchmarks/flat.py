"""Whether the cost stays flat: per image as a batch grows, per megapixel as images grow. CPU time, broker included.

One stack does all of it, one batch at a time, in interleaved rounds, so that nothing but the batch differs. A core
that idled between two small batches needs longer for the same instructions, so after each row the tuned floor does
the same pictures in the same rhythm: what it takes more there, the machine takes.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders.floor import Floor
from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.corpus import SIZES, Corpus, cache_folder, corpus
from benchmarks.routes import ROUTES
from benchmarks.statistics import Round, Run, cpu_ratios, off_median, order_of, spread, together
from benchmarks.tables import Result, single_runs

TOLERANCE = 0.1
LEAST_IMAGES = 2000
"""Images of one size of batch in a round: CPU time is counted in hundredths of a second, so small batches repeat."""
MUNIFLOW, FLOOR = "chained", "tuned-floor"


class Load(NamedTuple):
    """What a round runs of one row of a table."""

    pictures: Corpus
    units_per_image: float = 1.0
    """What the cost is divided by: megapixels, or 1."""
    repeats: int = 1
    """How often, one after the other."""


def per_image(counts: Sequence[int], rounds: int, route_name: str, photos: Path) -> Result:
    """Batches of different lengths, of 512 px images, chained. Long ones name the same pictures many times."""
    loads = {
        f"{count:,}": Load(corpus(SIZES["512"], count, photos), repeats=max(1, LEAST_IMAGES // count))
        for count in sorted(counts)
    }
    title = f"Cost per image, 512 px, {ROUTES[route_name].text}, chained"
    return table(title, "images in the batch", "image", loads, _measure(loads, rounds, route_name))


def per_megapixel(sizes: Sequence[str], rounds: int, route_name: str, photos: Path) -> Result:
    """Images of different sizes, chained."""
    loads = {
        name: Load(corpus(SIZES[name], None, photos), SIZES[name].width_px * SIZES[name].height_px / 1e6)
        for name in sizes
    }
    title = f"Cost per megapixel, {ROUTES[route_name].text}, chained"
    return table(title, "size, px", "megapixel", loads, _measure(loads, rounds, route_name))


def table(title: str, what: str, unit: str, loads: Mapping[str, Load], found: Mapping[str, Sequence[Round]]) -> Result:
    """The table of what was measured, with whether it is flat: as it is, and beside the floor."""
    rows, middles, beside = [], [], []
    for name, done in found.items():
        units = loads[name].units_per_image
        rate = spread([one[MUNIFLOW].images_per_s * units for one in done])
        cost, floor = (spread([one[who].cpu_ms_per_image / units for one in done]) for who in (MUNIFLOW, FLOOR))
        over = cpu_ratios(done, MUNIFLOW, FLOOR)
        middles.append(cost.median)
        beside.append(over.median)
        first = f"{cost.median / middles[0]:.2f}"
        rows.append((name, rate.text(1), cost.text(2), first, floor.text(2), over.text(2)))
    header = (what, f"{unit}s/s", f"CPU ms per {unit}", "/ the first", "tuned floor, same rhythm", "/ tuned floor")
    notes = (f"CPU: {flatness(middles)}", f"CPU / tuned floor: {flatness(beside)}", "one stack, rounds interleaved")
    raw = {name: single_runs(done) for name, done in found.items()}
    return Result(title, header, tuple(rows), notes, raw)


def _measure(loads: Mapping[str, Load], rounds: int, route_name: str) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in loads}
    with _prepared(loads, route_name) as (stack, floors):
        for number in range(rounds):
            for name in order_of(list(loads), number):
                load = loads[name]
                ours = together([stack.run_with(load.pictures) for _ in range(load.repeats)])
                floor = _paced(floors[name], load.repeats, ours.seconds / load.repeats)
                found[name].append({MUNIFLOW: ours, FLOOR: floor})
                said = ", ".join(f"{who} {run.cpu_ms_per_image:.2f} ms" for who, run in found[name][-1].items())
                print(f"  round {number + 1}, {name}: {said}", flush=True)
    return found


@contextmanager
def _prepared(loads: Mapping[str, Load], route_name: str) -> Iterator[tuple[MuniflowBroker, Mapping[str, Floor]]]:
    """One stack for all loads, and a floor for each, all warm."""
    route = ROUTES[route_name]
    with ExitStack() as exits:
        folder = Path(tempfile.mkdtemp(prefix="flat-", dir=cache_folder()))
        exits.callback(shutil.rmtree, folder, ignore_errors=True)
        stack = MuniflowBroker(MUNIFLOW, chained=True)
        floors = {name: Floor(FLOOR, tuned=True) for name in loads}
        exits.callback(stack.close)
        stack.prepare(next(iter(loads.values())).pictures, route, folder / MUNIFLOW)
        stack.run()
        for number, (name, floor) in enumerate(floors.items()):
            exits.callback(floor.close)
            floor.prepare(loads[name].pictures, route, folder / f"{FLOOR}-{number}")
            floor.run()
        yield stack, floors


def _paced(floor: Floor, repeats: int, period_s: float) -> Run:
    """The floor, once in each period: it is done before that is over, and idles like the stack that took so long."""
    runs = [floor.run()]
    for _ in range(repeats - 1):
        time.sleep(max(0.0, period_s - runs[-1].seconds))
        runs.append(floor.run())
    return together(runs)


def flatness(middles: Sequence[float]) -> str:
    """The sentence below the table."""
    low, high = off_median(middles)
    flat = "all within" if -low <= TOLERANCE and high <= TOLERANCE else "NOT all within"
    least = 1 - min(middles) / max(middles)
    return f"{flat} {TOLERANCE:.0%} of their median, {low:+.1%} to {high:+.1%}; the least is {least:.1%} below the most"
