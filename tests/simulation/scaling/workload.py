"""Generated weeks of a city: batches of 10 to a million images, by day and by night, with and without deadlines."""

import math
import random
from dataclasses import dataclass, replace

from tests.simulation.scaling.autoscaler import SYNC_S

from muniflow.model.batch import is_express
from muniflow.model.batch_document import PRIORITIES, Priority
from muniflow.model.owners import DEFAULT_OWNER
from muniflow_coordinator.settings import CoordinatorSettings

DAY_S = 86_400.0
ROUTES: tuple[tuple[str, ...], ...] = (("resize",), ("resize", "blur"), ("resize", "split", "blur"), ("blur",))
SECONDS_PER_MP = {"resize": 0.012, "split": 0.004, "blur": 0.02}
"""Of one compute child, with loading and storing."""
CONSTANT_S = 0.003
IMPOSSIBLE = 0.05
"""Of the deadlines: they ask for more than all stages at `max` can do, or for an end before anything has started."""
OWNERS = {"planning": 0.6, "roads": 0.3, "archive": 0.1}
"""Who sends batches, and which part of them."""
EXPRESS_IMAGES = CoordinatorSettings().express_images
"""Batches of no more take the express lane."""


@dataclass(frozen=True)
class Job:
    """One batch as it really is."""

    id: str
    at_s: float
    images: int
    megapixels: float
    """Of an image."""
    route: tuple[str, ...]
    due_s: float
    has_deadline: bool
    luck: float
    """What its tasks take, times what their class takes."""
    priority: Priority = "normal"
    weight: int = 1
    owner: str = DEFAULT_OWNER

    @property
    def express(self) -> bool:
        """Whether its images go before those of other batches."""
        return is_express(self.images, EXPRESS_IMAGES)

    def seconds(self, step: str) -> float:
        """Seconds of one image in a step."""
        return (CONSTANT_S + SECONDS_PER_MP[step] * self.megapixels) * self.luck


def busy(at_s: float) -> float:
    """How likely a batch is sent at this time of the week, 0 to 1: days more than nights, weekends less."""
    day, hour = int(at_s // 86_400) % 7, at_s % 86_400 / 3600
    daily = 0.15 + 0.85 * math.exp(-(((hour - 13) / 4.5) ** 2))
    return daily * (0.3 if day >= 5 else 1.0)


def week(
    dice: random.Random, capacity: dict[str, float], *, load: float = 0.25, horizon_s: float = 900.0, days: int = 7
) -> list[Job]:
    """Batches of a week, or of its first days, that keep the busiest stage at `load` of its capacity at `max`."""
    jobs: list[Job] = []
    work = dict.fromkeys(SECONDS_PER_MP, 0.0)
    while max(work[step] / (capacity[step] * days * DAY_S) for step in work) < load and len(jobs) < 2000:
        # Its first forecast is made when its sizes are known, up to three seconds after it was accepted.
        at_s = max(math.ceil(dice.uniform(0, days * DAY_S) / SYNC_S) * SYNC_S - dice.uniform(0, 3), 0.0)
        if dice.random() > busy(at_s):
            continue
        job = _job(dice, f"b{len(jobs)}", at_s, capacity, horizon_s)
        jobs.append(job)
        for step in job.route:
            work[step] += job.images * job.seconds(step)
    return sorted(jobs, key=lambda job: job.at_s)


def _job(dice: random.Random, name: str, at_s: float, capacity: dict[str, float], horizon_s: float) -> Job:
    images = int(10 ** dice.uniform(1, 6) if dice.random() < 0.3 else 10 ** dice.uniform(1, 4))
    megapixels = 2 ** dice.uniform(-2, 5)
    route = dice.choice(ROUTES)
    luck = math.exp(dice.gauss(0, 0.1))
    job = Job(name, at_s, images, megapixels, route, 0.0, dice.random() < 0.5, luck)
    alone_s = max(images * job.seconds(step) / capacity[step] for step in route)
    if not job.has_deadline:
        # The horizon counts; a batch that cannot end within it even alone is due when it could.
        due_s = at_s + max(horizon_s, 1.3 * alone_s + 600)
    elif dice.random() < IMPOSSIBLE:
        due_s = at_s + 60 + alone_s * dice.uniform(0.1, 0.8)
    else:
        due_s = at_s + 600 + alone_s * dice.uniform(1.3, 8)
    priority = dice.choices(PRIORITIES, (0.1, 0.8, 0.1))[0]
    # Dice of their own: the batches of a seed stay what they were.
    (owner,) = random.Random(f"{name} {images}").choices(tuple(OWNERS), tuple(OWNERS.values()))
    return replace(job, due_s=due_s, priority=priority, weight=dice.choice((1, 1, 1, 2, 4)), owner=owner)
