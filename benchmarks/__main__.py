"""The command line of the benchmarks."""

import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import click

from benchmarks.budget import run_within
from benchmarks.corpus import EXAMPLES
from benchmarks.machine import load_now
from benchmarks.results import FOLDER, publish
from benchmarks.tables import Result

PHOTOS = click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=EXAMPLES,
    help="Photographs to make the corpus from, instead of examples/.",
)
KEEP = click.option("--keep/--no-keep", default=True, show_default=True, help="Write into benchmarks/results.")


def _names(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}")
    return names


def _stop(number: int, _: FrameType | None) -> None:
    # As an exception, so that every contender ends its processes on the way out.
    raise SystemExit(128 + number)


def _publish(name: str, load: float, results: list[Result], *, keep: bool) -> None:
    folder = FOLDER if keep else Path(tempfile.mkdtemp(prefix="results-"))
    publish(name, sys.argv[1:], load, results, folder)


@click.group()
def main() -> None:
    """Measure muniflow against what it could be and what people would use instead.

    Only ratios of interleaved runs mean anything; keep the machine quiet while they run. Single questions have
    modules of their own: python -m benchmarks.checksums, .failures, .gateway and .observability.
    """
    signal.signal(signal.SIGTERM, _stop)


@main.command()
@click.option("--sizes", default="512,1024,2048,8000x4000", show_default=True)
@click.option("--routes", default="resize-split-blur", show_default=True, help="Names with commas, or `all`.")
@click.option("--contenders", default="", help="Names with commas; `list` shows them. Default: the main table's.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--images", type=int, help="Images of a run, instead of the number that fits each size.")
@PHOTOS
@KEEP
def compare(
    *, sizes: str, routes: str, contenders: str, rounds: int, images: int | None, photos: Path, keep: bool
) -> None:
    """Floors, Celery, naive pipeline and muniflow, interleaved.

    Example: python -m benchmarks compare --sizes 512 --contenders floor,chained --rounds 3
    """
    from benchmarks import compare as module
    from benchmarks.contenders.by_name import CONTENDERS, DEFAULT
    from benchmarks.corpus import SIZES
    from benchmarks.routes import ROUTES

    if contenders == "list":
        click.echo("\n".join(CONTENDERS))
        return
    load = load_now()
    chosen = _names(contenders, tuple(CONTENDERS)) if contenders else list(DEFAULT)
    named = list(ROUTES) if routes == "all" else _names(routes, tuple(ROUTES))
    results = module.compare(_names(sizes, tuple(SIZES)), named, chosen, rounds=rounds, images=images, photos=photos)
    _publish("compare", load, results, keep=keep)


@main.command()
@click.option("--sizes", default="10000,100000,1000000", show_default=True, help="Images of one batch.")
@click.option("--batches", default=1000, show_default=True, help="Batches at once, for fairness; 0 leaves it out.")
@click.option("--each", default=60, show_default=True, help="Images of each of those.")
@click.option("--huge", default=200_000, show_default=True, help="The batch beside a small one; 0 leaves it out.")
@KEEP
def coordinator(sizes: str, batches: int, each: int, huge: int, *, keep: bool) -> None:
    """The coordinator alone, with workers that compute nothing.

    Example: python -m benchmarks coordinator --sizes 10000 --batches 100 --huge 50000
    """
    from benchmarks.coordinator import beside, fair, grow

    load = load_now()
    results = [grow([int(size) for size in sizes.split(",")])] if sizes else []
    results += [fair(batches, each)] if batches else []
    results += [beside(huge)] if huge else []
    _publish("coordinator", load, results, keep=keep)


@main.command()
@click.option("--size", default="512", show_default=True)
@click.option("--route", default="resize-split-blur", show_default=True)
@click.option("--jobs", default=200, show_default=True)
@PHOTOS
@KEEP
def latency(size: str, route: str, jobs: int, photos: Path, *, keep: bool) -> None:
    """The time from a job published to its result, one at a time, against Celery.

    Example: python -m benchmarks latency --jobs 100
    """
    from benchmarks import latency as module

    load = load_now()
    _publish("latency", load, [module.latency(size, route, jobs, photos)], keep=keep)


@main.command()
@click.option("--tries", default=10, show_default=True)
@KEEP
def start(tries: int, *, keep: bool) -> None:
    """The time until a worker consumes, and of `muniflow --help`.

    Example: python -m benchmarks start --tries 5
    """
    from benchmarks import start as module

    load = load_now()
    _publish("start", load, [module.start(tries)], keep=keep)


@main.command()
@click.option("--size", default="512", show_default=True)
@click.option("--route", default="resize-split-blur", show_default=True)
@click.option("--chained/--per-step", default=True, show_default=True)
@click.option("--images", type=int, help="Images of the batch, instead of the number that fits the size.")
@click.option("--durable/--volatile", default=True, show_default=True, help="Volatile shows what fsync costs.")
@PHOTOS
@KEEP
def profile(
    *, size: str, route: str, images: int | None, photos: Path, chained: bool, durable: bool, keep: bool
) -> None:
    """CPU per part, and per function where py-spy is installed.

    Example: python -m benchmarks profile --size 512 --per-step
    """
    from benchmarks import profile as module

    load = load_now()
    results = module.profile(size, route, chained=chained, images=images, durable=durable, photos=photos)
    _publish("profile", load, results, keep=keep)


@main.command()
@click.option("--batches", default="100,1000,10000", show_default=True, help="Images of a batch; up to 100000.")
@click.option("--sizes", default="1024,2048,8000x4000", show_default=True, help="Sizes of images.")
@click.option("--route", default="resize-split-blur", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@PHOTOS
@KEEP
def flat(*, batches: str, sizes: str, route: str, rounds: int, photos: Path, keep: bool) -> None:
    """Cost per image over the size of a batch, and per megapixel over the size of an image.

    Example: python -m benchmarks flat --batches 100,1000 --sizes ""
    """
    from benchmarks import flat as module
    from benchmarks.corpus import SIZES

    load, results = load_now(), []
    if batches:
        results.append(module.per_image([int(count) for count in batches.split(",")], rounds, route, photos))
    if chosen := _names(sizes, tuple(SIZES)):
        results.append(module.per_megapixel(chosen, rounds, route, photos))
    _publish("flat", load, results, keep=keep)


@main.command()
@click.option("--sizes", default="512,1024,2048", show_default=True)
@click.option("--route", default="resize-split-blur", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--images", type=int, help="Images of a batch, instead of the number that fits each size.")
@PHOTOS
@KEEP
def scale(*, sizes: str, route: str, rounds: int, images: int | None, photos: Path, keep: bool) -> None:
    """Throughput from 1 to 2 workers of each stage.

    Example: python -m benchmarks scale --sizes 512 --images 300
    """
    from benchmarks import scale as module
    from benchmarks.corpus import SIZES

    load = load_now()
    chosen = _names(sizes, tuple(SIZES))
    _publish("scale", load, [module.scale(chosen, rounds, route_name=route, images=images, photos=photos)], keep=keep)


@main.command()
@click.option("--size", default="16384x8192", show_default=True)
@click.option("--images", default=4, show_default=True)
@click.option("--routes", default="all", show_default=True, help="Names with commas, or `all`.")
@PHOTOS
@KEEP
def memory(*, size: str, images: int, routes: str, photos: Path, keep: bool) -> None:
    """Peak memory of every process while huge panoramas pass.

    Example: python -m benchmarks memory --size 8000x4000
    """
    from benchmarks import memory as module
    from benchmarks.routes import ROUTES

    load = load_now()
    named = list(ROUTES) if routes == "all" else _names(routes, tuple(ROUTES))
    _publish("memory", load, [module.memory(size, images, named, photos)], keep=keep)


@main.command()
@click.option("--batches", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
@PHOTOS
@KEEP
def forecast(*, batches: int, seed: int, photos: Path, keep: bool) -> None:
    """Real batches, planned before and graded after, the pace of the machine between them: some twenty minutes.

    Example: python -m benchmarks forecast --batches 20 --no-keep
    """
    from benchmarks import forecast as module

    load = load_now()
    _publish("forecast", load, module.forecast(batches, seed, photos, click.echo), keep=keep)


@main.command("all")
@click.option("--rounds", default=2, show_default=True)
@click.option("--minutes", default=60.0, show_default=True, help="No part starts later than this; those are named.")
@click.pass_context
def everything(context: click.Context, rounds: int, minutes: float) -> None:
    """What docs/performance.md publishes, one result file after the other.

    Example: python -m benchmarks all --rounds 5 --minutes 180
    """
    from benchmarks.contenders.by_name import CONTENDERS

    few = "floor,celery,local,per-step,chained"
    measurements: list[tuple[str, Callable[[], object]]] = [
        ("coordinator", lambda: context.invoke(coordinator)),
        ("latency", lambda: context.invoke(latency)),
        ("start", lambda: context.invoke(start)),
        ("memory", lambda: context.invoke(memory)),
        ("scale", lambda: context.invoke(scale, rounds=rounds, images=1200)),
        ("flat, up to 10,000 images", lambda: context.invoke(flat, rounds=2 * rounds)),
        ("flat, 100,000 images", lambda: context.invoke(flat, batches="100,100000", sizes="", rounds=1)),
        ("compare, the main route", lambda: context.invoke(compare, rounds=rounds)),
        ("compare, every contender, 512 px", lambda: context.invoke(
            compare, sizes="512", contenders=",".join(CONTENDERS), images=600, rounds=rounds)),
        *((f"profile of {size} px, {'chained' if chained else 'per step'}",
           partial(context.invoke, profile, size=size, chained=chained))
          for size in ("512", "2048") for chained in (False, True)),
        *((f"compare, {route}, {size} px", partial(
            context.invoke, compare, sizes=size, routes=route, contenders=few, images=images, rounds=rounds))
          for route in ("split-blur", "blur", "five-steps") for size, images in (("512", 600), ("2048", 80))),
        *((f"compare, every contender, {size} px", partial(
            context.invoke, compare, sizes=size, contenders=",".join(CONTENDERS), images=images, rounds=rounds))
          for size, images in (("1024", 200), ("2048", 60), ("8000x4000", 12))),
    ]  # fmt: skip
    left_out = run_within(measurements, minutes * 60)
    if left_out:
        click.echo(f"left out after {minutes:.0f} minutes: {'; '.join(left_out)}")


@main.command()
def guard() -> None:
    """The regression guard of the tests: ratios with wide margins, under half a minute."""
    from benchmarks import guard as module

    faults = module.faults(say=click.echo)
    for fault in faults:
        click.echo(f"too slow: {fault}", err=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
