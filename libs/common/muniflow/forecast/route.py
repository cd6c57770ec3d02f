"""The tasks that an image of a size makes on its way along a route, stage by stage: exact.

They follow the rules by which workers make them (`muniflow.compute.chain`): a process runs all consecutive steps that
it carries as one task; tiles of one task stay together up to a size (`muniflow.model.bundles`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from muniflow.errors import Rejected
from muniflow.forecast.service_time import Amount
from muniflow.forecast.sizes import Picture
from muniflow.forecast.stage import Stage, Stages
from muniflow.forecast.task_class import RAW, Reads, TaskClass
from muniflow.model.batch import Batch
from muniflow.model.bundles import cuts
from muniflow.model.messages import Decode, ImageFormat, Route
from muniflow.model.operation import Operations, Params, Size, read_params

PIXELS_PER_MP = 1e6

Tiles = tuple[Size, ...]


_Key = tuple[str, int, TaskClass]
"""Stage, first step and class of a visit."""


class Visit(NamedTuple):
    """The tasks of one class that one image makes in one stage."""

    stage: str
    step: int
    """The first step of the route that they run."""
    task_class: TaskClass
    amount: Amount
    """All of them together; a fraction where stages share an operation."""
    largest: Amount
    """The largest one."""


def by_capacity(stage: Stage) -> float:
    """The usual share of a stage in an operation that it shares: what it can do at most."""
    return stage.rate(stage.max_replicas)


@dataclass(frozen=True)
class Path:
    """A route on given stages. Visits are worked out once for each distinct size and format."""

    route: Route
    output: ImageFormat
    decode: Decode
    stages: Stages
    share: Callable[[Stage], float]
    """Stages with one operation take its tasks in these proportions."""
    _params: tuple[Params, ...]
    _visits: dict[Picture, tuple[Visit, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, batch: Batch, operations: Operations, stages: Stages, share: Callable[[Stage], float] = by_capacity
    ) -> "Path":
        """The path of a batch's images.

        Raises:
            Rejected: an operation that is in no stage, or that is not installed here.
        """
        for step in batch.route:
            if step.op not in operations:
                raise Rejected(f"operation {step.op!r} is not installed here")
            if not any(step.op in stage.operations for stage in stages):
                raise Rejected(f"no stage carries operation {step.op!r}")
        params = tuple(read_params(operations[step.op], step.params) for step in batch.route)
        return cls(batch.route, batch.encoding.format, batch.decode, stages, share, params)

    def visits(self, picture: Picture) -> tuple[Visit, ...]:
        """What an image does in each stage, in the order of the route.

        What a step refuses fails there: it makes nothing after it.
        """
        if picture not in self._visits:
            self._visits[picture] = self._walk(picture)
        return self._visits[picture]

    def _walk(self, picture: Picture) -> tuple[Visit, ...]:
        # Paths that meet in the same task are one from there on, so their number stays small.
        waiting: list[dict[Tiles, float]] = [{} for _ in self.route]
        waiting[0][(picture.size,)] = 1.0
        found: dict[_Key, Visit] = {}
        for step, tasks in enumerate(waiting):
            for tiles, count in tasks.items():
                for stage, share in self._carriers(step):
                    end = self._end(step, stage)
                    made = self._run(tiles, step, end)
                    reads = picture.reads if step == 0 else RAW
                    one = Amount(1.0, _mp(tiles), _mp(made), float(len(made)))
                    task_class = self._task_class(range(step, end), stage.device, reads)
                    _add(found, (stage.name, step, task_class), one, count * share)
                    if end < len(self.route):
                        for cut in cuts([tile.pixels for tile in made]):
                            following = made[cut]
                            waiting[end][following] = waiting[end].get(following, 0.0) + count * share
        return tuple(sorted(found.values(), key=lambda visit: visit.step))

    def _carriers(self, step: int) -> list[tuple[Stage, float]]:
        carriers = [stage for stage in self.stages if self.route[step].op in stage.operations]
        total = sum(map(self.share, carriers))
        shares = [(stage, self.share(stage) / total if total else 1 / len(carriers)) for stage in carriers]
        return [(stage, share) for stage, share in shares if share > 0]

    def _end(self, step: int, stage: Stage) -> int:
        """The first step after `step` that the stage does not carry."""
        steps = range(step, len(self.route))
        return next((later for later in steps if self.route[later].op not in stage.operations), len(self.route))

    def _run(self, tiles: Tiles, step: int, end: int) -> Tiles:
        for params in self._params[step:end]:
            tiles = tuple(made for tile in tiles for made in _sizes(params, tile))
        return tiles

    def _task_class(self, steps: range, device: str, reads: Reads) -> TaskClass:
        writes: ImageFormat | Literal["raw"] = RAW if steps.stop < len(self.route) else self.output
        return TaskClass.of(self.route[steps.start : steps.stop], reads, writes, device, self.decode)


def _add(found: dict[_Key, Visit], key: _Key, one: Amount, count: float) -> None:
    """Add `count` tasks like `one`."""
    before = found.get(key) or Visit(*key, Amount(), one)
    largest = max(before.largest, one, key=Amount.megapixels)
    found[key] = Visit(*key, before.amount.plus(one, count), largest)


def _sizes(params: Params, source: Size) -> Sequence[Size]:
    try:
        return params.sizes(source)
    except Rejected:
        return ()


def _mp(tiles: Tiles) -> float:
    return sum(tile.pixels for tile in tiles) / PIXELS_PER_MP
