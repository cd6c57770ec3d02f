"""Lets as many images of each batch be in flight as keep the fleet busy that is there or wanted."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muniflow.forecast.load import Capacity
from muniflow.forecast.replicas import Running
from muniflow.forecast.window import least_window
from muniflow_coordinator.foresight.outlook import Outlook
from muniflow_coordinator.runs.window import Window, WindowNeed, windows_of


@dataclass(frozen=True)
class Windows:
    """Follows the fleet."""

    budget_bytes: int
    """For the intermediates of all batches."""
    most_images: int
    """Of one batch."""
    apply: Callable[[Mapping[int, Window], int | None], None]
    """Gives batches their windows, by their numbers, and all of them together theirs, where one is given."""

    def begin(self, number: int, mean_pixels: float, image_bytes: int) -> None:
        """Give a batch whose sizes are known now its first window, until the next turn."""
        self.apply({number: Window(min(least_window(mean_pixels), self.most_images), image_bytes)}, None)

    def follow(self, needs: Mapping[int, WindowNeed], fleet: Sequence[Running], outlook: Outlook) -> None:
        """Give each batch the window that it needs now."""
        capacities = [
            Capacity(one.stage, one.at_work, max(outlook[one.stage.name].wanted - one.at_work, 0)) for one in fleet
        ]
        found = windows_of(needs, capacities, self.budget_bytes, self.most_images)
        # Where nothing runs, what comes next is not held up by what ran before.
        self.apply(found.windows, found.total if needs else sys.maxsize)
