"""How many images of a batch keep the fleet busy, and what each leaves in the work store."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from statistics import fmean

from muniflow.forecast.defaults import Costs
from muniflow.forecast.load import Capacity, bottleneck, paces
from muniflow.forecast.route import PIXELS_PER_MP, Path
from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.forecast.task_class import RAW, TaskClass
from muniflow.forecast.work import StageWork

HELD_S = 2.0
"""An image waits or is computed so long in a stage that is busy: its workers hold three groups of 0.2 s each for every
child, results wait up to 0.1 s for others, and sizes differ."""
HELD_TASKS = 3
"""Tasks that each child holds, however long they take: one that runs, and two that wait behind it."""
BYTES_PER_PIXEL = 3
LEAST_IMAGES = 256
"""Window of a batch whose images are not small, however few replicas there are; and until its sizes are read."""
SMALL_PIXELS = 2**20
"""Of smaller images more may be in flight; of larger ones more would not help."""
WIDEST = 4
"""Limit of the factor; a larger one would not help."""


def window_images(stages: Mapping[str, StageWork], fleet: Sequence[Capacity]) -> int:
    """The images of one batch that keep all replicas busy that there are or will be; at least 1.

    By Little's law: images that the bottleneck does in a second, times the seconds that an image is in each stage.

    Args:
        stages: what the batch needs of each stage.
        fleet: the replicas of each stage; those that start are counted, too.
    """
    images_per_s = min(paces(stages, fleet).values(), default=0.0)
    needed = 0.0
    for one in fleet:
        if (work := stages.get(one.stage.name)) is None:
            continue
        # A stage beside the bottleneck has no more children at work than its pace asks for.
        busy = min(ceil(images_per_s * work.image_s), one.servers)
        needed += max(images_per_s * HELD_S, HELD_TASKS * busy / max(work.tasks_per_image, 1.0))
    return max(ceil(needed), 1)


def batch_window(stages: Mapping[str, StageWork], fleet: Sequence[Capacity], mean_pixels: float | None) -> int:
    """The images of one batch that may be in flight: enough for all replicas, and the least one.

    Args:
        stages: what the batch needs of each stage.
        fleet: the replicas of each stage.
        mean_pixels: of its images; `None` if not known yet.
    """
    return max(window_images(stages, fleet), least_window(mean_pixels))


def total_window(windows: Iterable[tuple[Mapping[str, StageWork], int]], fleet: Sequence[Capacity]) -> int:
    """The images of several batches that may be in flight together: those with the same bottleneck share one window.

    So the turns decide whose images the fleet works at, and not the windows.

    Args:
        windows: what each batch needs of each stage, and its window.
        fleet: the replicas of each stage.
    """
    shared: dict[str | None, int] = {}
    for stages, window in windows:
        stage = bottleneck(stages, fleet)
        shared[stage] = max(shared.get(stage, 0), window)
    return sum(shared.values())


def least_window(mean_pixels: float | None) -> int:
    """Return how many images are in flight however few replicas there are: more if small, but no more pixels in total.

    Args:
        mean_pixels: mean pixels of an image of the batch; `None` if not known yet.
    """
    if not mean_pixels:
        return LEAST_IMAGES
    return max(LEAST_IMAGES, min(WIDEST * LEAST_IMAGES, int(LEAST_IMAGES * SMALL_PIXELS / mean_pixels)))


def mean_intermediate_bytes(sample: SizeSample, path: Path) -> int:
    """What an image of a batch leaves in the work store until it is settled, in bytes, in the mean."""
    views = _Views()
    found = [intermediate_bytes(path, entry.picture, views) for entry in sample.entries if entry.picture]
    return round(fmean(found)) if found else 0


class _Views(dict[TaskClass, bool]):
    """Whether all operations of a class only make views of what they read; worked out once for each class."""

    def __missing__(self, task_class: TaskClass) -> bool:
        costs = Costs()
        self[task_class] = all(costs.operation(step).by_reference for step in task_class.steps)
        return self[task_class]


def intermediate_bytes(path: Path, picture: Picture, views: Mapping[TaskClass, bool]) -> float:
    """What an image leaves in the work store until it is settled, in bytes: raw pixels between two tasks.

    Tiles of a stage that only makes views lie in what was stored before them.
    """
    pixels = 0.0
    for visit in path.visits(picture):
        if visit.task_class.writes == RAW and not (views[visit.task_class] and visit.task_class.reads == RAW):
            pixels += visit.amount.mp_out * PIXELS_PER_MP
    return pixels * BYTES_PER_PIXEL
