"""What the workers say they did, added up for each step of a batch. Advisory: a redelivery counts again."""

import json

from muniflow.model.api import StepProgress
from muniflow.model.batch import Batch
from muniflow.model.messages import Tally
from muniflow.model.step_sums import StepSums


class Tallies:
    """The sums of all steps of a batch."""

    def __init__(self, steps: int) -> None:
        """Start at zero for `steps` steps."""
        self._steps = [StepSums() for _ in range(steps)]

    @classmethod
    def read(cls, text: str, steps: int) -> "Tallies":
        """What `write` wrote, for a route of `steps` steps."""
        tallies = cls(steps)
        for index, values in enumerate(json.loads(text)[:steps]):
            tallies._steps[index] = StepSums.read(values)
        return tallies

    def add(self, tally: Tally) -> None:
        """Add what a worker did; a step that the route does not have is ignored."""
        if 0 <= tally.step < len(self._steps):
            self._steps[tally.step].add(tally.sums)

    @property
    def mean_pixels(self) -> float | None:
        """Of an image of the batch; `None` before the first has gone through its first step."""
        first = self._steps[0]
        return first.pixels / first.done if first.done else None

    @property
    def handled(self) -> tuple[int, ...]:
        """Images and tiles that each step has done or failed."""
        return tuple(step.done + step.failed for step in self._steps)

    def write(self) -> str:
        """The sums as JSON."""
        return json.dumps([step.values() for step in self._steps])

    def progress(self, batch: Batch, images: int) -> tuple[StepProgress, ...]:
        """The progress of each step of a batch of so many images."""
        found = []
        expected = images
        for step, total in zip(batch.route, self._steps, strict=True):
            found.append(
                StepProgress(
                    op=step.op,
                    expected=expected,
                    done=min(total.done, expected),
                    failed=total.failed,
                    pixels=total.pixels,
                    compute_s=round(total.compute_s, 3),
                )
            )
            expected *= step.fan_out
        return tuple(found)
