"""Real batches, planned before and graded after: how far the forecasts are off."""

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster, batch_name
from benchmarks.corpus import SIZES, cache_folder, corpus
from benchmarks.forecast_grades import BatchGrade, table
from benchmarks.pace import Pace, slowness
from benchmarks.routes import ROUTES
from benchmarks.tables import Result
from muniflow.errors import Unavailable
from muniflow.forecast.load import BatchLoad
from muniflow.forecast.profile import read_profile
from muniflow.images.limits import DEFAULT_LIMITS
from muniflow.model.batch import read_batch
from muniflow.model.messages import TERMINAL
from muniflow.model.operation import installed_operations
from muniflow.planning.fleet import read_fleet
from muniflow.planning.plan import Plan, Wish, make_plan
from muniflow.planning.sampling import sample_sizes
from muniflow.store.open import open_store
from muniflow_cli.planning.calibration import calibrate
from muniflow_cli.stack.plan import WorkerGroup

POOLS: Mapping[str, int] = {"512": 3200, "1024": 1200, "2048": 400, "8000x4000": 48}
"""Pictures that are made of each size."""
MEGAPIXELS = 2000.0
"""Of a batch, in the mean: some ten to thirty seconds on two cores, so that the pace of a moment is not all of it."""
POLL_S = 0.1
TIMEOUT_S = 300.0
COMPETING = 0.3
"""The part of the batches that are sent two at a time."""
ETA_PART = 0.25
"""The part of a batch after which its ETA is read."""


@dataclass(frozen=True)
class Case:
    """One batch."""

    mix: str
    route: str
    images: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As it is published."""
        route = ROUTES[self.route].document()
        return {"batch_id": batch_name("forecast"), "images": list(self.images), "operations": route, "output": "jpg"}


def cases(count: int, seed: int) -> list[Case]:
    """Batches of one size, of mixed sizes, and of small images before large ones; the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - an experiment
    found = []
    for number in range(count):
        route = list(ROUTES)[number % len(ROUTES)]
        size = dice.choice(list(POOLS))
        mix = (size, "mixed", "small, then large")[number % 3]
        budget_mp = MEGAPIXELS * dice.uniform(0.5, 1.5)
        names = _names(dice, (size,) if mix == size else tuple(POOLS), budget_mp)
        if mix == "small, then large":
            names.sort(key=_megapixels)
        found.append(Case(mix, route, tuple(names)))
    return found


def _names(dice: random.Random, sizes: Sequence[str], budget_mp: float) -> list[str]:
    """Different pictures, of each size as many megapixels."""
    names = []
    for size in sizes:
        wanted = round(budget_mp / len(sizes) / _megapixels(size))
        places = dice.sample(range(POOLS[size]), min(max(wanted, 1), POOLS[size]))
        names += [f"{size}-{POOLS[size]}/{place:06}.jpg" for place in places]
    dice.shuffle(names)
    return names


def _megapixels(name: str) -> float:
    size = SIZES[name.partition("-")[0]]
    return size.width_px * size.height_px / 1e6


def forecast(batches: int, seed: int, photos: Path, say: Callable[[str], None]) -> list[Result]:
    """Plan, send, follow and grade so many batches."""
    for size, count in POOLS.items():
        corpus(SIZES[size], count, photos)
    folder = Path(tempfile.mkdtemp(prefix="forecast-", dir=cache_folder()))
    groups = [WorkerGroup((operation,)) for operation in ("resize", "split", "blur")]
    _read_once(cache_folder() / "corpus")
    # As a user does first: then `muniflow up` gives the coordinator what was measured.
    profile = folder / "profile.json"
    cores = len(os.sched_getaffinity(0))
    profile.write_text(calibrate(cores).profile.to_json())
    variables = {"MUNIFLOW_PROFILE_FILE": str(profile)}
    pool = ProcessPoolExecutor(cores, get_context("spawn"))
    with Cluster(folder, cache_folder() / "corpus", groups, variables) as cluster, pool:
        _wait_for_workers(cluster, len(groups))
        pace = Pace(pool, cores)
        grades: list[BatchGrade] = []
        pace.read()
        for sent in grouped(cases(batches, seed), seed):
            for grade in _run(cluster, sent):
                say(f"{len(grades) + 1:3} {grade.text}")
                grades.append(grade)
            pace.read()
    shutil.rmtree(folder, ignore_errors=True)  # some gigabytes of outputs
    paced = [replace(one, slowness=slowness(pace.readings, one.began_at, one.ended_at)) for one in grades]
    return [table(paced, seed)]


def grouped(found: Sequence[Case], seed: int) -> list[list[Case]]:
    """Batches that are sent together: most alone, some two at a time."""
    dice, groups, rest = random.Random(seed), [], list(found)  # noqa: S311 - an experiment
    while rest:
        count = 2 if dice.random() < COMPETING / (2 - COMPETING) else 1
        groups.append(rest[:count])
        rest = rest[count:]
    return groups


def _run(cluster: Cluster, sent: Sequence[Case]) -> list[BatchGrade]:
    """Plan all of them, each beside the others, then send them."""
    documents = [case.document() for case in sent]
    alone = [_plan(cluster, document, ()) for document in documents]
    loads = [one.planner.load for one in alone]
    plans = alone if len(sent) == 1 else [_plan(cluster, one, _beside(loads, n)) for n, one in enumerate(documents)]
    with cluster.client() as client:
        for document in documents:
            client.submit(document)
    etas: dict[str, tuple[float, float]] = {}
    ended = _follow(cluster, [document["batch_id"] for document in documents], etas)
    return [
        _grade(case, len(sent), plan, ended[document["batch_id"]], etas.get(document["batch_id"]))
        for case, plan, document in zip(sent, plans, documents, strict=True)
    ]


def _beside(loads: Sequence[BatchLoad], place: int) -> list[BatchLoad]:
    """What the batch at this place meets: those after it are accepted later, and due later, than it."""
    return [*loads[:place], *(replace(load, due_at=inf) for load in loads[place + 1 :])]


def _read_once(root: Path) -> None:
    """Read all pictures, so that no batch waits for a disk where later ones do not."""
    for size, count in POOLS.items():
        for picture in (root / f"{size}-{count}").iterdir():
            picture.read_bytes()


def _wait_for_workers(cluster: Cluster, count: int) -> None:
    """The coordinator counts workers some seconds after they are ready; before, it plans with their start."""

    def counted() -> bool:
        fleet = read_fleet(_forecast(cluster, "/v1/fleet"), "the benchmark")
        return len(fleet.running) == count and all(fleet.running.values())

    cluster.processes.wait_for("the count of workers", counted)


def _plan(cluster: Cluster, document: Mapping[str, Any], others: Sequence[BatchLoad]) -> Plan:
    operations = installed_operations()
    batch = read_batch(json.dumps(document).encode(), operations)
    fleet = read_fleet(_forecast(cluster, "/v1/fleet"), "the benchmark")
    fleet = replace(fleet, others=(*fleet.others, *others))
    profile = read_profile(cluster.get("/v1/profile?outputs=true"))
    source, output = open_store(cluster.stores.source_url), open_store(cluster.stores.output_url)
    sampling = sample_sizes(batch, source, output, DEFAULT_LIMITS)
    wish = Wish(replicas={})
    return make_plan(batch, operations, sampling, fleet, profile=profile, prices=None, wish=wish, now_at=time.time())


def _forecast(cluster: Cluster, path: str) -> bytes:
    """An answer of the forecast, which is there some seconds after the coordinator."""
    answers: list[bytes] = []

    def came() -> bool:
        try:
            answers.append(cluster.get(path))
        except (SystemExit, Unavailable):
            return False
        return True

    cluster.processes.wait_for("the first forecast", came)
    return answers[0]


def _follow(cluster: Cluster, ids: Sequence[str], etas: dict[str, tuple[float, float]]) -> dict[str, Mapping[str, Any]]:
    """Each batch at its end; `etas` gets, at a quarter of each, the time and when it should end."""
    ended: dict[str, Mapping[str, Any]] = {}

    def all_ended() -> bool:
        for batch_id in ids:
            status = _status(cluster, batch_id)
            if status is None or batch_id in ended:
                continue
            part = (status["done"] + status["failed"]) / max(status["total"], 1)
            if batch_id not in etas and part >= ETA_PART and status.get("eta_s") is not None:
                etas[batch_id] = (time.time(), time.time() + status["eta_s"])
            if status["state"] in TERMINAL:
                ended[batch_id] = status
        return len(ended) == len(ids)

    cluster.processes.wait_for("the end of the batches", all_ended, TIMEOUT_S, every_s=POLL_S)
    return ended


def _status(cluster: Cluster, batch_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(cluster.get(f"/v1/batches/{batch_id}"))
    except SystemExit:
        return None  # not accepted yet
    return found


def _grade(
    case: Case, together: int, plan: Plan, status: Mapping[str, Any], eta: tuple[float, float] | None
) -> BatchGrade:
    began_at, ended_at = status["submitted_at"], status["finished_at"]
    return BatchGrade(
        mix=case.mix,
        route=case.route,
        images=len(case.images),
        together=together,
        p50_s=plan.chosen.p50_s,
        p90_s=plan.chosen.p90_s,
        began_at=began_at,
        ended_at=ended_at,
        eta_ratio=None if eta is None else (eta[1] - eta[0]) / max(ended_at - eta[0], 1e-3),
    )
