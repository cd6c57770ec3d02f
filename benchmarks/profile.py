"""Where the time goes: CPU per part of a running muniflow, and the functions in which each Python process spends it."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import proc
from benchmarks.cluster import CHILD, PARENT, Cluster, Usage, batch_name, usage_of
from benchmarks.contenders.muniflow_broker import TIMEOUT_S, document, groups_of
from benchmarks.corpus import EXAMPLES, SIZES, Corpus, cache_folder, corpus
from benchmarks.kinds import KINDS, shares_by_kind
from benchmarks.routes import ROUTES, BenchRoute
from benchmarks.stacks import Share, Stacks, parse, top_self, top_total, working
from benchmarks.tables import Result

SAMPLES_PER_S = 200
TOP = 25
SPY = Path(sys.executable).with_name("py-spy")


def profile(
    size: str, route_name: str, *, chained: bool, images: int | None, durable: bool = True, photos: Path = EXAMPLES
) -> list[Result]:
    """One batch for the CPU seconds, another one under py-spy (where it is installed) for the functions."""
    pictures, route = corpus(SIZES[size], images, photos), ROUTES[route_name]
    form = "chained" if chained else "one operation per worker"
    title = f"{SIZES[size].name} px, {route.text}, {form}" + ("" if durable else ", outputs not durable")
    variables = {"MUNIFLOW_DURABLE_OUTPUTS": str(durable).lower()}
    folder = Path(tempfile.mkdtemp(prefix="profile-", dir=cache_folder()))
    try:
        with Cluster(folder, pictures.root, groups_of(route, chained=chained), variables) as cluster:
            _batch(cluster, pictures, route)  # warm
            before, started = cluster.hops(), time.perf_counter()
            _batch(cluster, pictures, route)
            seconds = time.perf_counter() - started
            hops = {name: spent_s - before[name] for name, spent_s in cluster.hops().items()}
            results = [_parts(title, usage_of(hops), seconds, pictures.count)]
            if SPY.exists():
                found = _spied(cluster, pictures, route, seconds)
                results += [_by_kind(title, hops, found, pictures.count), *_functions(title, found)]
            return results
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _batch(cluster: Cluster, pictures: Corpus, route: BenchRoute) -> None:
    batch_id = batch_name("profile")
    with cluster.client() as client:
        client.submit(document(batch_id, pictures, route))
        notice, _ = client.wait([batch_id], TIMEOUT_S)[batch_id]
    if notice.state != "done":
        raise SystemExit(f"the batch is {notice.state}")
    shutil.rmtree(cluster.output / batch_id)


def _parts(title: str, used: Usage, seconds: float, images: int) -> Result:
    parts = {
        "broker": used.broker_s,
        "coordinator": used.coordinator_s,
        "worker parents": used.parents_s,
        "compute children": used.children_s,
        "all": used.total_s,
    }
    rows = tuple((name, f"{spent / images * 1000:.2f}", f"{spent / used.total_s:.0%}") for name, spent in parts.items())
    note = f"{images} images in {seconds:.1f} s, {used.total_s / seconds:.2f} cores busy"
    return Result(f"CPU by part, {title}", ("", "CPU ms per image", "of all"), rows, (note,), asdict(used))


def _by_kind(title: str, hops: Mapping[str, float], found: Mapping[str, Stacks], images: int) -> Result:
    """CPU time of each part from /proc, divided among kinds of work as the samples of one such process are."""
    rows = []
    for name, spent_s in hops.items():
        parts = shares_by_kind(found[name]) if name in found else {}
        spent_ms = spent_s / images * 1000
        rows.append((name, *(f"{parts[kind] * spent_ms:.2f}" if parts else "" for kind in KINDS), f"{spent_ms:.2f}"))
    return Result(f"CPU ms per image by hop, {title}", ("", *KINDS, "all"), tuple(rows), (), dict(hops))


def _spied(cluster: Cluster, pictures: Corpus, route: BenchRoute, seconds: float) -> dict[str, Stacks]:
    """One more batch under py-spy: the stacks of one process of each kind."""
    watched, folder = _watched(cluster), cluster.folder
    spies = {
        name: subprocess.Popen(
            [str(SPY), "record", "--pid", str(pid), "--rate", str(SAMPLES_PER_S), "--format", "raw", "--nolineno",
             "--output", str(folder / f"{name}.folded"), "--duration", str(max(2, int(seconds)))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, pid in watched.items()
    }  # fmt: skip
    _batch(cluster, pictures, route)
    for spy in spies.values():
        spy.wait()
    files = {name: folder / f"{name}.folded" for name in watched}
    return {name: working(parse(file.read_text().splitlines())) for name, file in files.items() if file.exists()}


def _functions(title: str, found: Mapping[str, Stacks]) -> list[Result]:
    results = []
    for name, stacks in found.items():
        results.append(_table(f"Self time of {name}, {title}", top_self(stacks, TOP)))
        results.append(_table(f"Time in and below, {name}, {title}", top_total(stacks, TOP)))
    return results


def _table(title: str, shares: list[Share]) -> Result:
    rows = tuple((share.function, f"{share.part:.1%}") for share in shares)
    return Result(title, ("function", "of its CPU samples"), rows, (), [asdict(share) for share in shares])


def _watched(cluster: Cluster) -> Mapping[str, int]:
    """One process of each kind: the coordinator, the first worker of each group, one child of each of those."""
    watched = {"coordinator": cluster.coordinator_pid}
    for name, (pid, *_) in cluster.workers().items():
        watched[f"{name} {PARENT}"] = pid
        below = [stat for stat in proc.tree([pid]) if pid not in {stat.pid, stat.parent}]
        if below:
            # Not what the worker itself started, which is the fork server: what that one forked.
            watched[f"{name} {CHILD}"] = max(below, key=lambda stat: stat.cpu_s).pid
    return watched
