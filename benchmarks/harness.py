"""Interleaved rounds: A B C, B C A backwards, … of contenders that stay started, each run on the same corpus."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from benchmarks.corpus import Corpus
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Round, Run, order_of


class Contender(Protocol):
    """One way to do the work."""

    name: str

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start its processes, warm and idle; `folder` is its own, for outputs and logs."""
        ...

    def run(self) -> Run:
        """Do the whole corpus once and take away its outputs; fails when an output is missing."""
        ...

    def close(self) -> None:
        """End every process that `prepare` started."""
        ...


def measure(
    contenders: Sequence[Contender],
    corpus: Corpus,
    route: BenchRoute,
    *,
    rounds: int,
    folder: Path,
) -> list[Round]:
    """Run `rounds` interleaved rounds after one warm-up run of each contender, which is not counted."""
    by_name = {contender.name: contender for contender in contenders}
    done: list[Round] = []
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
            contender.prepare(corpus, route, folder / contender.name)
            warm = contender.run()
            print(f"  {contender.name}: ready ({warm.images_per_s:.1f} images/s in the warm-up)", flush=True)
        for number in range(rounds):
            results = {name: by_name[name].run() for name in order_of(list(by_name), number)}
            done.append({name: results[name] for name in by_name})
            line = ", ".join(f"{name} {run.images_per_s:.1f}" for name, run in done[-1].items())
            print(f"  round {number + 1}: {line}", flush=True)
    return done


def expect_outputs(folder: Path, count: int) -> None:
    """Fail unless `folder` holds exactly this many JPEG files, none of them empty."""
    found = [path for path in folder.rglob("*.jpg") if path.stat().st_size]
    if len(found) != count:
        raise SystemExit(f"{len(found)} outputs instead of {count} in {folder}: this run does not count")
