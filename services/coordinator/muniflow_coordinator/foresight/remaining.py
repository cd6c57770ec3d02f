"""Seconds of work that a running batch still needs in each stage. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from muniflow.forecast.defaults import MESSAGE_S
from muniflow.forecast.profile import Profile
from muniflow.forecast.service_time import Sums
from muniflow.forecast.stage import Stages
from muniflow.forecast.work import BatchWork, StageWork, images_past
from muniflow.model.messages import Route


@dataclass(frozen=True)
class Position:
    """How far a batch has come."""

    count: int
    """Images."""
    pending: int
    """Images that are not settled."""
    in_flight: int
    """Images that are dispatched and not settled."""
    handled: tuple[int, ...]
    """Images and tiles that each step has done or failed, as the workers say."""

    @property
    def settled(self) -> int:
        """Images that are done, failed or cancelled."""
        return self.count - self.pending

    def past(self, route: Route) -> tuple[float, ...]:
        """Return how many images are past each step.

        Workers count a task again that is redelivered, and failed images that are run again. But no image is past a
        step that was not dispatched.
        """
        most = self.count - max(self.pending - self.in_flight, 0)
        past = images_past(route, self.count, self.settled, self.handled)
        return tuple(min(images, most) for images in past)


def remaining(
    work: BatchWork, route: Route, position: Position, stages: Stages, *, profile: Profile, own: Mapping[str, Sums]
) -> dict[str, StageWork]:
    """Return what is left, by stage.

    As long as an image is pending no stage of the route needs nothing, whatever is known of sizes and progress: images
    that cannot be read make tasks, too, and a task may wait in a queue that is thought to be done. A stage without
    replicas would keep the batch from its end.

    Args:
        work: of the whole batch.
        route: of the batch.
        position: how far it has come.
        stages: all stages, also those beside the route.
        profile: what is known of service times.
        own: what the batch itself showed of them, by the key of the class.
    """
    if not position.pending:
        return {}
    past = position.past(route)
    left = work.left(profile, past, own)
    for step, images in zip(route, past, strict=True):
        least_s = max(position.count - images, 1.0) * MESSAGE_S
        for stage in stages:
            if step.op in stage.operations:
                known = left.get(stage.name, StageWork(0.0))
                left[stage.name] = known._replace(work_s=max(known.work_s, least_s))
    return left
