"""What whole tasks did, as sums from which the coordinator learns how long tasks take. No numpy here."""

from collections.abc import Mapping
from typing import NamedTuple

from muniflow.forecast.route import PIXELS_PER_MP
from muniflow.forecast.service_time import EARLIER_LENGTH, Sums
from muniflow.forecast.task_class import Reads
from muniflow.model.messages import TaskSums


class Work(NamedTuple):
    """A whole task that was done: the class of its work, and how much there was of it."""

    step: int
    """The first step of the route that it ran."""
    steps: int
    """How many it ran."""
    reads: Reads
    """The format of its source, as its bytes say."""
    device: str
    pixels_in: int
    """Of the source as stored, however small it was decoded; or of all tiles."""
    pixels_out: int
    """Of all tiles or outputs that it made."""
    outputs: int
    """How many of these it made."""


DoneWork = dict[Work, tuple[int, float]]
"""Tasks, and their seconds. Images of a batch often have one size, so few of them differ."""


def task_sums(done: Mapping[Work, tuple[int, float]]) -> tuple[TaskSums, ...]:
    """Add up tasks by class."""
    sums: dict[tuple[int, Reads, str], Sums] = {}
    for work, (tasks, seconds) in done.items():
        mp_in, mp_out = work.pixels_in / PIXELS_PER_MP, work.pixels_out / PIXELS_PER_MP
        of_size = Sums.of(mp_in, mp_out, seconds / tasks, work.outputs)
        if tasks > 1:
            of_size = of_size.decayed(tasks)
        key = (work.steps, work.reads, work.device)
        sums[key] = sums[key] + of_size if key in sums else of_size
    return tuple(_reported(*key, found.as_list()) for key, found in sums.items())


def _reported(steps: int, reads: Reads, device: str, numbers: list[float]) -> TaskSums:
    """Sums as they travel: a coordinator of an earlier build reads the part that it knows, and ignores the outputs."""
    known, outputs = tuple(numbers[:EARLIER_LENGTH]), tuple(numbers[EARLIER_LENGTH:])
    return TaskSums(steps=steps, reads=reads, device=device, sums=known, outputs=outputs)
