"""Seconds of work that a batch still needs in each stage: queued, in flight and not yet dispatched."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

from muniflow.forecast.profile import Profile
from muniflow.forecast.route import Path, Visit
from muniflow.forecast.service_time import Amount, ServiceTime, Sums
from muniflow.forecast.sizes import SizeSample
from muniflow.forecast.task_class import TaskClass
from muniflow.model.messages import Route

OWN_PRIOR_TASKS = 20.0
"""How many tasks of its own a batch must show before they weigh as much as what other batches showed."""

PARTS = 8
"""Enough that small images before large ones are told apart."""

Work = Mapping[str, float]
"""Seconds of work by stage."""


class StageWork(NamedTuple):
    """What one batch needs of one stage."""

    work_s: float
    """All that is left."""
    image_s: float = 0.0
    """Of one image, in the mean."""
    tasks_per_image: float = 1.0
    longest_s: float = 0.0
    """Of the largest task."""


class Part(NamedTuple):
    """Images of a batch, one after another."""

    images: float
    image_s: float
    """What one of them takes, in all stages."""


@dataclass(frozen=True)
class StepWork:
    """The tasks that a stage gets at one step of the route, of one class."""

    stage: str
    step: int
    task_class: TaskClass
    before: tuple[Amount, ...]
    """Of the images of the sample before each place in it, and of all of them at the end."""
    largest: Amount
    """The largest task."""

    def left(self, begun: float) -> Amount:
        """What is left of the sample's images after a part `begun` of them, from 0 to 1."""
        position = min(max(begun, 0.0), 1.0) * (len(self.before) - 1)
        low = min(int(position), len(self.before) - 2)
        step = self.before[low + 1].plus(self.before[low], -1.0)
        left = self.before[-1].plus(self.before[low], -1.0).plus(step, low - position)
        return Amount(*(max(part, 0.0) for part in left))


@dataclass(frozen=True)
class BatchWork:
    """What a batch asks of each stage, image after image in the order in which they are dispatched.

    So a batch of small images before large ones is forecast right from its first image on. It knows tasks and pixels
    and no seconds: it is made once, and what is learned of service times later holds for it, too.
    """

    count: int
    """Images."""
    sampled: int
    steps: tuple[StepWork, ...]

    @classmethod
    def of(cls, sample: SizeSample, path: Path) -> "BatchWork":
        """The work of a whole batch. An image that cannot be read costs nothing worth counting."""
        found: dict[tuple[str, int, TaskClass], list[tuple[int, Visit]]] = defaultdict(list)
        for number, entry in enumerate(sample.entries):
            for visit in path.visits(entry.picture) if entry.picture else ():
                found[visit.stage, visit.step, visit.task_class].append((number, visit))
        steps = (_step_work(sample.sampled, visits) for visits in found.values())
        return cls(sample.count, sample.sampled, tuple(sorted(steps, key=lambda one: one.step)))

    def left(
        self, times: Profile, past: Sequence[float] = (), own: Mapping[str, Sums] | None = None
    ) -> dict[str, StageWork]:
        """What is left, by stage.

        Args:
            times: what is known of service times.
            past: images past each step of the route (`images_past`); nothing: it has not begun.
            own: what the batch itself showed, by the key of the class. It replaces what was guessed.
        """
        found: dict[str, StageWork] = {}
        for step in self.steps:
            time = times.service_time(step.task_class)
            if own:
                time = time.scaled(correction(time, own.get(step.task_class.key, Sums())))
            begun = past[step.step] / self.count if past else 0.0
            before = found.get(step.stage, StageWork(0.0, 0.0, 0.0, 0.0))
            found[step.stage] = StageWork(
                before.work_s + step.left(begun).seconds(time) * self.count / self.sampled,
                before.image_s + step.before[-1].seconds(time) / self.sampled,
                before.tasks_per_image + step.before[-1].tasks / self.sampled,
                max(before.longest_s, step.largest.seconds(time)),
            )
        return found

    def parts(self, times: Profile, settled: float = 0.0) -> tuple[Part, ...]:
        """The images that are not settled, from the first one on, in `PARTS` parts that take about the same.

        Args:
            times: what is known of service times.
            settled: images; they were the first ones.
        """
        cuts = self._cuts(settled / self.count)
        left_s = [
            sum(step.left(cut).seconds(times.service_time(step.task_class)) for step in self.steps) for cut in cuts
        ]
        per_image = self.count / self.sampled if self.sampled else 0.0
        return tuple(
            Part((end - begin) * self.count, (more_s - less_s) * per_image / ((end - begin) * self.count))
            for (begin, more_s), (end, less_s) in pairwise(zip(cuts, left_s, strict=True))
        )

    @cached_property
    def _megapixels(self) -> list[float]:
        """Of the images of the sample before each place in it, in their first step; they may be of several classes."""
        firsts = [step.before for step in self.steps if step.step == self.steps[0].step]
        return [sum(amount.megapixels() for amount in amounts) for amounts in zip(*firsts, strict=True)]

    def _cuts(self, begun: float) -> list[float]:
        """Where parts begin and end, from 0 to 1: between them are as many megapixels each."""
        if not self.steps or begun >= 1:
            return []
        before, position = self._megapixels, begun * self.sampled
        first = before[int(position)]
        wanted = (first + (before[-1] - first) * part / PARTS for part in range(1, PARTS))
        places = {bisect_left(before, megapixels) for megapixels in wanted}
        return [begun, *sorted(place / self.sampled for place in places if position < place < self.sampled), 1.0]


def correction(time: ServiceTime, own: Sums) -> float:
    """How many times the expected time a batch's own tasks took; few of them count for little."""
    expected_s = own.expected_s(time)
    if expected_s <= 0:
        return 1.0
    return (own.n * own.seconds / expected_s + OWN_PRIOR_TASKS) / (own.n + OWN_PRIOR_TASKS)


def _step_work(sampled: int, visits: Sequence[tuple[int, Visit]]) -> StepWork:
    """The work in one stage, from the images' places in the sample and what they do there."""
    first = visits[0][1]
    amounts = [Amount()] * sampled
    for number, visit in visits:
        amounts[number] = amounts[number].plus(visit.amount)
    before = tuple(accumulate(amounts, Amount.plus, initial=Amount()))
    largest = max((visit.largest for _, visit in visits), key=Amount.megapixels)
    return StepWork(first.stage, first.step, first.task_class, before, largest)


def images_past(route: Route, count: int, settled: int, handled: Sequence[float]) -> tuple[float, ...]:
    """How many images are past each step of the route.

    Args:
        route: of the batch.
        count: its images.
        settled: images that are done, failed or cancelled: past all steps.
        handled: images and tiles that each step has done or failed, as the tallies of workers say. A redelivered
            task counts twice there, so no step is behind a later one, and none is beyond `count`.
    """
    tiles, past = 1, []
    for step, done in zip(route, handled, strict=True):
        past.append(min(max(done / tiles, settled), count))
        tiles *= step.fan_out
    return tuple(accumulate(reversed(past), max))[::-1]


def total(parts: Iterable[Work]) -> dict[str, float]:
    """The work of several batches together."""
    found: dict[str, float] = defaultdict(float)
    for part in parts:
        for stage, seconds in part.items():
            found[stage] += seconds
    return dict(found)


def seconds_of(stages: Mapping[str, StageWork]) -> dict[str, float]:
    """The work alone."""
    return {stage: work.work_s for stage, work in stages.items()}
