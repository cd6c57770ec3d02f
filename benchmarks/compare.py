"""Contenders against each other: one table per size and route."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders.by_name import CONTENDERS
from benchmarks.corpus import EXAMPLES, SIZES, cache_folder, corpus
from benchmarks.harness import measure
from benchmarks.routes import ROUTES
from benchmarks.tables import Result, comparison, markdown

BASES = ("floor", "tuned-floor", "celery", "celery-tuned")


def compare(
    sizes: Sequence[str],
    routes: Sequence[str],
    contenders: Sequence[str],
    *,
    rounds: int,
    images: int | None = None,
    photos: Path = EXAMPLES,
) -> list[Result]:
    """Measure every route at every size; `images` overrides the size's own number of images."""
    results = []
    for size in sizes:
        pictures = corpus(SIZES[size], images, photos)
        for name in routes:
            route = ROUTES[name]
            title = f"{SIZES[size].name} px, {route.text}, {pictures.count} images"
            print(title, flush=True)
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache_folder()))
            try:
                taking_part = [CONTENDERS[contender]() for contender in contenders]
                done = measure(taking_part, pictures, route, rounds=rounds, folder=folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            results.append(comparison(title, done, BASES))
            print(markdown(results[-1]), flush=True)  # now: what follows may take an hour
    return results
