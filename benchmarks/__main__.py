"""The command line of the benchmarks."""

import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import click

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

    Only ratios of interleaved runs mean anything; keep the machine quiet while they run.
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
    from benchmarks.contenders.catalogue import CONTENDERS, DEFAULT
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
@click.option("--sizes", default="100,1000,10000", show_default=True, help="Images of a batch.")
@click.option("--rounds", default=3, show_default=True)
@PHOTOS
@KEEP
def flat(sizes: str, rounds: int, photos: Path, *, keep: bool) -> None:
    """Cost per image over the size of a batch, and per megapixel over the size of an image.

    Example: python -m benchmarks flat --sizes 100,1000
    """
    from benchmarks import flat as module

    load = load_now()
    results = [module.per_image([int(size) for size in sizes.split(",")], rounds, photos)]
    results.append(module.per_megapixel(["1024", "2048", "8000x4000"], rounds, photos))
    _publish("flat", load, results, keep=keep)


@main.command()
@click.option("--size", default="16384x8192", show_default=True)
@click.option("--images", default=4, show_default=True)
@PHOTOS
@KEEP
def memory(size: str, images: int, photos: Path, *, keep: bool) -> None:
    """Peak memory of every process while huge panoramas pass.

    Example: python -m benchmarks memory --size 8000x4000
    """
    from benchmarks import memory as module

    load = load_now()
    _publish("memory", load, [module.memory(size, images, photos)], keep=keep)


@main.command("all")
@click.option("--rounds", default=5, show_default=True)
@click.pass_context
def everything(context: click.Context, rounds: int) -> None:
    """What docs/performance.md publishes, one result file after the other; about two hours.

    Example: python -m benchmarks all --rounds 3
    """
    context.invoke(compare, rounds=rounds)
    context.invoke(compare, sizes="512,2048", routes="split-blur,blur,five-steps", rounds=rounds)
    for command in (coordinator, latency, start, flat, memory):
        context.invoke(command)
    for size in ("512", "2048"):
        for chained in (False, True):
            context.invoke(profile, size=size, chained=chained)


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
