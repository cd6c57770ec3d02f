"""What a seed means: batches, processes, and the faults that come, as plain data that can be cut down."""

from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["good", "bad", "missing", "killer"]
Named = Literal["list", "folder", "manifest"]
PLACES_OF_COORDINATOR = (
    "coordinator.before_accept", "coordinator.after_accept", "coordinator.before_commit", "coordinator.after_commit",
    "coordinator.after_ack", "coordinator.after_dispatch", "coordinator.after_report", "coordinator.after_notice",
    "coordinator.after_end", "ledger.commit", "ledger.committed", "publish", "ack", "store.write", "store.renamed",
    "store.delete",
)  # fmt: skip
PLACES_OF_WORKER = (
    "worker.before_publish", "worker.after_publish", "worker.after_confirm", "worker.after_ack", "child.read",
    "child.written", "child.synced", "publish", "ack", "store.write", "store.renamed",
)  # fmt: skip
STORES = ("source", "work", "output")


@dataclass(frozen=True)
class BatchPlan:
    """A batch that a user sends."""

    id: str
    at_s: float
    images: tuple[Kind, ...]
    route: tuple[tuple[str, int], ...]
    named: Named = "list"
    twice: bool = False
    weight: int = 1
    priority: str = "normal"
    cancel_after_s: float | None = None
    mend: bool = False
    """Whether its bad images are mended after its end, and run again."""


@dataclass(frozen=True)
class FaultPlan:
    """Something that goes wrong."""

    at_s: float
    kind: str
    target: str = ""
    seconds: float = 0.0
    place: str = ""


@dataclass(frozen=True)
class Plan:
    """All of one run."""

    seed: int
    batches: tuple[BatchPlan, ...]
    coordinators: int
    workers: tuple[tuple[str, ...], ...]
    faults: tuple[FaultPlan, ...]
    task_s: float
    window_images: int
    window_total: int
    window_gib: float
    express_images: int
    chunk: int
    """Images that are read and recorded at a time."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    dice = Random(f"plan {seed}")
    horizon_s = dice.choice((20.0, 60.0, 120.0))
    batches = tuple(_batch(dice, number, horizon_s) for number in range(dice.randint(1, 4)))
    workers = _workers(dice)
    coordinators = dice.choice((1, 1, 2, 3))
    tasks = sum(len(batch.images) * _tasks_of(batch) for batch in batches)
    faults = sorted(
        (_fault(dice, horizon_s, coordinators, len(workers)) for _ in range(dice.choice((0, 3, 8, 16, 24)))),
        key=lambda fault: fault.at_s,
    )
    return Plan(
        seed=seed,
        batches=batches,
        coordinators=coordinators,
        workers=workers,
        faults=tuple(faults),
        task_s=min(horizon_s * len(workers) / max(tasks, 1), 3.0) * dice.uniform(0.2, 1.2),
        window_images=dice.choice((2, 5, 1000)),
        window_total=dice.choice((3, 8, 1000)),
        window_gib=dice.choice((0.05, 32.0)),
        express_images=dice.choice((0, 0, 3, 64)),
        chunk=dice.choice((3, 2000)),
    )


def _tasks_of(batch: BatchPlan) -> int:
    tasks, leaves = 0, 1
    for _, fan_out in batch.route:
        tasks += leaves
        leaves *= fan_out
    return tasks


def _batch(dice: Random, number: int, horizon_s: float) -> BatchPlan:
    operations = dice.sample(("copy", "crop", "paste"), dice.randint(1, 3))
    images: list[Kind] = ["good"] * dice.randint(1, 16)
    for kind in ("bad", "missing"):
        if dice.random() < 0.2:
            images[dice.randrange(len(images))] = kind
    if dice.random() < 0.06:
        images[dice.randrange(len(images))] = "killer"
    return BatchPlan(
        id=f"b{number}",
        at_s=dice.random() * horizon_s * 0.5,
        images=tuple(images),
        route=tuple((operation, dice.choice((1, 1, 2, 3))) for operation in operations),
        named="list" if "missing" in images else dice.choice(("list", "folder", "manifest")),
        twice=dice.random() < 0.2,
        weight=dice.choice((1, 1, 5)),
        priority=dice.choice(("low", "normal", "normal", "high")),
        cancel_after_s=dice.random() * horizon_s if dice.random() < 0.15 else None,
        mend=dice.random() < 0.5,
    )


def _workers(dice: Random) -> tuple[tuple[str, ...], ...]:
    every = ("copy", "crop", "paste")
    fleets = (
        (every,),
        (every, every),
        (("copy",), ("crop",), ("paste",)),
        (("copy", "crop"), ("paste",), every),
        (("copy",), ("copy",), ("crop", "paste")),
    )
    return dice.choice(fleets)


def _fault(dice: Random, horizon_s: float, coordinators: int, workers: int) -> FaultPlan:
    at_s = dice.random() * horizon_s * 0.8
    coordinator = f"coordinator{dice.randrange(coordinators)}"
    worker = f"worker{dice.randrange(workers)}"
    either = coordinator if dice.random() < 0.5 else worker
    places = PLACES_OF_COORDINATOR if either == coordinator else PLACES_OF_WORKER
    short_s, long_s = dice.expovariate(1 / 3.0), dice.expovariate(1 / 20.0)
    made = (
        FaultPlan(at_s, "kill", either),
        FaultPlan(at_s, "kill at", either, float(dice.randint(1, 4)), dice.choice(places)),
        FaultPlan(at_s, "kill at", either, float(dice.randint(1, 4)), dice.choice(places)),
        FaultPlan(at_s, "freeze", either, long_s),
        FaultPlan(at_s, "drain", either),
        FaultPlan(at_s, "cut", either, dice.choice((0.0, short_s))),
        FaultPlan(at_s, "cut at publish", either, dice.choice((0.0, short_s))),
        FaultPlan(at_s, "cut at publish", either, dice.choice((0.0, short_s))),
        FaultPlan(at_s, "broker killed at publish", seconds=short_s),
        FaultPlan(at_s, "child", worker),
        FaultPlan(at_s, "broker killed", seconds=short_s),
        FaultPlan(at_s, "broker blocked", seconds=long_s),
        FaultPlan(at_s, "store away", dice.choice(STORES), long_s),
        FaultPlan(at_s, "store loses power", "output", short_s),
        FaultPlan(at_s, "ledger away", seconds=long_s),
        FaultPlan(at_s, "stores slow", seconds=long_s),
        FaultPlan(at_s, "ledger slow", seconds=long_s),
        FaultPlan(at_s, "ledger doubt", dice.choice(("refused", "unheard"))),
        FaultPlan(at_s, "ledger doubt", dice.choice(("refused", "unheard"))),
    )
    return dice.choice(made)
